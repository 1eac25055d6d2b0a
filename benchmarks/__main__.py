"""`python -m benchmarks`: measure, print tables, and write JSON and charts."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import (
    footprint,
    latency,
    load,
    machine,
    paced,
    rate,
    results,
    saturation,
    scale,
    startup,
    trace,
)
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.figures import Sample, group_samples
from benchmarks.goals import goals
from benchmarks.table import goal_table, tables
from benchmarks.testbed import Testbed
from mcrelay.cli.view.progress import ProgressLine
from mcrelay.lab import LabError

PARTS = {
    "rate": rate.measure,
    "saturation": saturation.measure,
    "load": load.measure,
    "paced": paced.measure,
    "latency": latency.measure,
    "startup": startup.measure,
    "scale": scale.measure,
    "trace": trace.measure,
    "footprint": footprint.measure,
}
ONCE = ("scale", "footprint")  # these take long, or hardly differ between runs
FOLDER = Path(__file__).parent / "results"


def main() -> int:
    """Measure the chosen parts, and return the exit code."""
    options = _parser().parse_args()
    if missing := machine.missing():
        print(f"benchmark: missing: {', '.join(missing)}; `make bench` installs them", file=sys.stderr)
        return 1
    facts = machine.facts()
    print(results.caption(facts))
    if (load_average := machine.load_average()) > machine.QUIET:
        print(
            f"WARNING: load average {load_average}: other processes disturb these figures; do not quote them."
        )
    effort = QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `with` cleans up as on Ctrl-C
    failures: list[str] = []
    try:
        samples = list(_measured(options.only, effort, failures))
    except KeyboardInterrupt:
        return 130
    figures = group_samples(samples)
    reached = [goal for goal in goals(figures) if goal.measured is not None or options.only == list(PARTS)]
    written = results.write(options.output, figures, reached, facts, effort.name)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # leaving a pager is not an error
    print(f"\n{tables(figures)}\n\n{goal_table(reached)}\nwrote {len(written)} files to {options.output}")
    for failure in failures:
        print(f"benchmark: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _measured(parts: list[str], effort: Effort, failures: list[str]) -> Iterator[Sample]:
    """Yield the samples of all parts. Within a run the relays take turns, so drift affects all of them.

    A run of a part that fails keeps the samples that it has; its message is appended to `failures`.
    """
    began = time.monotonic()
    live = ProgressLine(began)
    for part in parts:
        for run in range(1 if part in ONCE else effort.runs):
            where = f"{part}, run {run + 1}"
            try:
                for sample in _on_a_bed(part, effort):
                    if live.is_due(now := time.monotonic()):
                        live.show(now, f"{now - began:4.0f} s   {where}: {sample.case}, {sample.relay}")
                    yield sample
            except LabError as error:
                failures.append(f"{where}: {error}")
    live.clear()


def _on_a_bed(part: str, effort: Effort) -> Iterator[Sample]:
    with Testbed() as testbed:
        yield from PARTS[part](testbed, effort)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short run of about four minutes, for a first impression"
    )
    parser.add_argument(
        "--only",
        type=_parts,
        default=list(PARTS),
        metavar="PART,...",
        help=f"only these parts: {', '.join(PARTS)}",
    )
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER", help="for JSON and charts")
    return parser


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)} (there are {', '.join(PARTS)})")
    return parts


if __name__ == "__main__":
    sys.exit(main())
