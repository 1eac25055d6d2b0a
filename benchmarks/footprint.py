"""The memory of a relay's processes, and their wake-ups without traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.case import ONE_FLOW, RULES_10000, Case
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import Mcrelay, Relay, Smcroute, Socat, run_relay
from benchmarks.testbed import Testbed
from benchmarks.usage import memory, role, sleeps

MEMORY = Question(
    "memory",
    "How much memory does a process take?",
    "MB",
    "resident memory beyond the packet rings, shared libraries included, after some traffic",
)
PROPORTIONAL = Question(
    "memory-shared",
    "How much memory does a process take if shared pages are divided among their users?",
    "MB",
    "proportional set size beyond the packet rings",
)
WAKEUPS = Question(
    "wakeups",
    "How often does a relay wake up when there is no traffic?",
    "1/s",
    "voluntary context switches of all threads of all its processes",
)
PROCESSES: list[Relay] = [Mcrelay(), Socat(), Smcroute()]
REST_S = 1.0  # after the last packet


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Measure each relay that is a process, and mcrelay also with many rules."""
    for relay in PROCESSES:
        for case in (ONE_FLOW, RULES_10000):
            if relay.why_not(case) is None:
                yield from _resting(testbed, relay, case, effort)


def label(case: Case) -> str:
    """Return the name of a case in this part."""
    return f"{case.rules:,} rule{'s' if case.rules > 1 else ''}"


def _resting(testbed: Testbed, relay: Relay, case: Case, effort: Effort) -> Iterator[Sample]:
    with run_relay(testbed, relay, case, apart=False):
        time.sleep(REST_S)
        processes = testbed.relay.processes()
        before = sleeps(processes)
        time.sleep(effort.idle)
        yield Sample(WAKEUPS, label(case), relay.name, (sleeps(processes) - before) / effort.idle)
        for process in processes:
            name = f"{label(case)}: {role(process)}" if relay.name == Mcrelay.name else label(case)
            used = memory(process)
            yield Sample(MEMORY, name, relay.name, used.resident / 1e6)
            yield Sample(PROPORTIONAL, name, relay.name, used.proportional / 1e6)
