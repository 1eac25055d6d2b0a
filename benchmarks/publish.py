"""`make figures`: write figures and chart of the last whole `make bench` into the README and the manual."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import footprint, latency, overview, paced, rate, results, saturation, scale
from benchmarks.case import (
    DIFFERING,
    FAN_OUT_8,
    FAN_OUT_50,
    FLOWS_50,
    ONE_FLOW,
    RULES_1000,
    RULES_10000,
)
from benchmarks.effort import FULL
from benchmarks.figures import Question
from benchmarks.peers import EXCLUSIVE, KERNEL, USERSPACE
from benchmarks.table import aligned, number

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CHART = ROOT / "packaging" / "manual" / "mcrelay-performance.svg"
PAGES = (ROOT / "README.md", ROOT / "packaging" / "manual" / "mcrelay-performance.7.md")
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of figures -->\n"

ALTERNATIVE = "the lossless rate and the CPU time of a packet, of mcrelay and other relays"
OURS = (KERNEL.name, EXCLUSIVE.name, USERSPACE.name)
RELAYS = (*OURS, "nftables", "nftables dup", "smcroute", "socat", "mcr")
SHORT = {**{name: name.removeprefix("mcrelay ") for name in OURS}, "nftables dup": "nft dup"}
_CUT = saturation.CUT
ROWS: Mapping[str, Sequence[tuple[str, Question, str]]] = {
    "lossless rate (kpps)": [
        ("1 flow", rate.QUESTION, ONE_FLOW.name),
        ("1 flow to 8 groups", rate.QUESTION, FAN_OUT_8.name),
        ("1 flow to 50 groups", rate.QUESTION, FAN_OUT_50.name),
    ],
    "CPU time per packet at saturation (us)": [
        ("equal lengths", saturation.QUESTION, ONE_FLOW.name),
        ("equal lengths, no offload", saturation.QUESTION, ONE_FLOW.name + _CUT),
        ("lengths differ", saturation.QUESTION, DIFFERING.name),
        ("lengths differ, no offload", saturation.QUESTION, DIFFERING.name + _CUT),
        ("50 flows", saturation.QUESTION, FLOWS_50.name),
        ("50 flows, no offload", saturation.QUESTION, FLOWS_50.name + _CUT),
        ("10,000 rules", saturation.QUESTION, RULES_10000.name),
        ("10,000 rules, no offload", saturation.QUESTION, RULES_10000.name + _CUT),
        ("to 8 groups, each copy", saturation.QUESTION, FAN_OUT_8.name),
        ("to 8 groups, no offload", saturation.QUESTION, FAN_OUT_8.name + _CUT),
        ("to 50 groups, each copy", saturation.QUESTION, FAN_OUT_50.name),
        ("to 50 groups, no offload", saturation.QUESTION, FAN_OUT_50.name + _CUT),
    ],
    "CPU time per packet at a steady rate (us)": [
        (label, paced.QUESTION, label)
        for label in (
            *(paced.Pace(one, paced.SMOOTH_S).label for one in (1_000, 10_000, 50_000, 200_000)),
            *(paced.Pace(one, paced.BURST_S).label for one in (50_000, 200_000)),
        )
    ],
    "latency at 10 kpps (us)": [
        ("median", latency.P50, latency.CASE),
        ("99th percentile", latency.P99, latency.CASE),
    ],
    "at rest, 1 rule": [
        ("processes", footprint.COUNT, footprint.label(ONE_FLOW)),
        ("memory of all processes (MB)", footprint.TOTAL, footprint.label(ONE_FLOW)),
        ("rings, BPF maps (MB)", footprint.IN_KERNEL, footprint.label(ONE_FLOW)),
        ("wake-ups per second", footprint.WAKEUPS, footprint.label(ONE_FLOW)),
    ],
    "`mcrelay add` to the first packet (s)": [
        ("among 1,000 rules", scale.QUESTION, scale.label(scale.ADD, RULES_1000)),
    ],
}


def main() -> int:
    """Publish, and return the exit code."""
    try:
        document = json.loads((RESULTS / "results.json").read_text())
        chart = (RESULTS / overview.NAME).read_text()
    except FileNotFoundError as error:
        print(f"figures: {error.filename} is missing; run `make bench`", file=sys.stderr)
        return 1
    if reason := why_not(document):
        print(f"figures: {reason}; run `make bench`", file=sys.stderr)
        return 1
    pages = {page: replaced(page.read_text(), block(document, page.parent)) for page in PAGES}
    CHART.write_text(chart)
    for page, content in pages.items():
        page.write_text(content)
    print(f"wrote {', '.join(str(path.relative_to(ROOT)) for path in (CHART, *PAGES))}")
    return 0


def why_not(document: Mapping[str, Any]) -> str | None:
    """Return why results must not be published, or None if they may: then they are those of a whole run."""
    measured = {figure["question"] for figure in document["figures"]}
    wanted = {question.key for rows in ROWS.values() for _, question, _ in rows}
    if missing := sorted(wanted - measured):
        return f"the last results lack {', '.join(missing)}"
    return None


def block(document: Mapping[str, Any], folder: Path) -> str:
    """Return the chart, the machine and the tables of medians, as Markdown for a page in `folder`."""
    found = {(one["question"], one["case"], one["relay"]): one for one in document["figures"]}
    picture = f"![{ALTERNATIVE}]({os.path.relpath(CHART, folder)})"
    how = "medians" if document["effort"] == FULL.name else "one short run, `QUICK=1`"
    caption = f"{results.caption(document['machine'])}; {how}. `?`: less than the noise."
    relays = [name for name in RELAYS if any(relay == name for _, _, relay in found)]
    groups = ([name for name in relays if name in OURS], [name for name in relays if name not in OURS])
    return "\n".join(["", picture, "", caption, "", *(_table(found, group) for group in groups), ""])


def _table(found: Mapping[tuple[str, str, str], Mapping[str, Any]], relays: Sequence[str]) -> str:
    """Return the table of some relays, narrow enough for a page of man(1), with the rows that they have."""
    rows, titles = [["", *(SHORT.get(name, name) for name in relays)]], {}
    for title, members in ROWS.items():
        cells = {
            label: [_cell(found.get((question.key, case, relay))) for relay in relays]
            for label, question, case in members
        }
        known = {label: row for label, row in cells.items() if set(row) != {"-"}}
        if known:
            titles[len(rows)] = title
            rows.append(["" for _ in ("", *relays)])
            rows += [[f"  {label}", *row] for label, row in known.items()]
    lines = aligned(rows).splitlines()
    return "".join(f"    {titles.get(number, line)}\n" for number, line in enumerate(lines))


def replaced(page: str, text: str) -> str:
    """Return a page with another text between its two marks; raises ValueError if it has no marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN.strip()} and {END.strip()}")
    return before + begin + text + end + after


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    if figure["lowest"] < 0:  # a difference of two CPU times that the noise exceeds
        return "?"
    return number(figure["median"]) + ("+" if figure["at_least"] else "")


if __name__ == "__main__":
    sys.exit(main())
