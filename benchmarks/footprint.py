"""The memory of a relay's processes, and their wake-ups without traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.case import ONE_FLOW, RULES_1000, RULES_10000, Case
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import IN_PROCESSES, PLANES, Mcrelay, Relay, Smcroute, run_relay
from benchmarks.testbed import Testbed
from benchmarks.usage import bpf_memory, memory, role, sleeps

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
COUNT = Question("processes", "How many processes does a relay have?", "processes", "after some traffic")
TOTAL = Question(
    "memory-total",
    "How much memory do all processes of a relay take together?",
    "MB",
    "proportional set size beyond the packet rings",
)
IN_KERNEL = Question(
    "memory-kernel",
    "How much memory of the kernel does a relay keep?",
    "MB",
    "packet rings, and what the kernel charges for BPF maps and programs",
)
PROCESSES: list[Relay] = [*PLANES, *IN_PROCESSES, Smcroute()]
REST_S = 1.0  # after the last packet


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Measure each relay that is a process, and mcrelay also with many rules."""
    for relay in PROCESSES:
        for case in (ONE_FLOW, RULES_1000, RULES_10000):
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
        used = {process: memory(process) for process in processes}
        yield Sample(COUNT, label(case), relay.name, len(used))
        yield Sample(TOTAL, label(case), relay.name, sum(one.proportional for one in used.values()) / 1e6)
        rings = dict(ring for one in used.values() for ring in one.rings.items())
        kept = sum(rings.values()) + bpf_memory(processes)
        yield Sample(IN_KERNEL, label(case), relay.name, kept / 1e6)
        for process, one in used.items():
            name = f"{label(case)}: {role(process)}" if isinstance(relay, Mcrelay) else label(case)
            yield Sample(MEMORY, name, relay.name, one.resident / 1e6)
            yield Sample(PROPORTIONAL, name, relay.name, one.proportional / 1e6)
