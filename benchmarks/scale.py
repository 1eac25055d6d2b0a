"""The time that mcrelay needs for a configuration, by number of rules."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.case import RULES_10, RULES_100, RULES_1000, RULES_10000, Case, copy, flow
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import PLANES, Mcrelay
from benchmarks.startup import first_arrival
from benchmarks.testbed import Testbed
from mcrelay.lab import Daemon, LabError
from mcrelay.lab.command import mcrelay, wait_until

QUESTION = Question(
    "scale",
    "How long does mcrelay take with many rules?",
    "s",
    "check, status: run time of the command; start: from the command to READY; reload: from SIGHUP to READY;"
    " add: from the command to the first packet of the new rule",
)
CHECK, START, RELOAD, UNCHANGED = "check", "start", "reload, 1 rule changed", "reload, nothing changed"
STATUS, ADD = "status", "add"
SIZES = (RULES_10, RULES_100, RULES_1000, RULES_10000)


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Check, start, reload, ask for the status, and add a rule, with 10 to 10,000 rules."""
    for relay in PLANES:
        for case in SIZES if effort.is_thorough else (RULES_1000, RULES_10000):
            for work, seconds in _times(testbed, relay, case):
                yield Sample(QUESTION, label(work, case), relay.name, seconds)


def _times(testbed: Testbed, relay: Mcrelay, case: Case) -> Iterator[tuple[str, float]]:
    """Yield the seconds that each kind of work takes."""
    yield CHECK, _check(testbed, relay, case)
    began = time.monotonic()
    with testbed.apart(), relay.running(testbed, case, watch=False) as daemon:
        yield START, time.monotonic() - began
        changed = relay.configuration(case).replace("port: 6001", "port: 6002", 1)
        yield RELOAD, _reload(daemon, changed)
        yield UNCHANGED, _reload(daemon, None)
        yield STATUS, _status(daemon)
        yield ADD, _add(testbed, daemon, case)


def label(work: str, case: Case) -> str:
    """Return the name of a case in this part."""
    return f"{work}: {case.rules:,} rules"


def _check(testbed: Testbed, relay: Mcrelay, case: Case) -> float:
    path = testbed.folder / f"large-{case.rules}.yaml"
    path.write_text(relay.configuration(case))
    began = time.monotonic()
    testbed.relay.run(mcrelay("check", str(path)))
    return time.monotonic() - began


def _reload(daemon: Daemon, config: str | None) -> float:
    began = time.monotonic()
    daemon.reload(config)
    return time.monotonic() - began


def _status(daemon: Daemon) -> float:
    began = time.monotonic()
    _ask(daemon, "status")
    return time.monotonic() - began


def _add(testbed: Testbed, daemon: Daemon, case: Case) -> float:
    source, to = flow(case.rules), copy(case.rules, 0)
    ends = ("--input", f"in:{source.address}:{source.port}", "--output", f"out:{to.address}:{to.port}")
    with testbed.sinks([to]) as sinks, first_arrival(testbed, source, sinks) as arrivals:
        began = time.monotonic()
        _ask(daemon, "add", "added", *ends)
        wait_until(lambda: arrivals, "the first packet of the new rule")
    return arrivals[0] - began


def _ask(daemon: Daemon, *command: str) -> None:
    """Run a verb; raises LabError if it fails."""
    if (answer := daemon.ask(*command)).returncode:
        raise LabError(f"`mcrelay {' '.join(command)}` ended with {answer.returncode}: {answer.stderr}")
