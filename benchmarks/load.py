"""What relaying costs at a rate that every relay keeps up with: its processes, and all that takes part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.case import FAN_OUT_8, FLOWS_50, ONE_FLOW, RULES_10000, Case
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import RELAYS, Relay, started
from benchmarks.sinks import Sinks
from benchmarks.testbed import Testbed, Trial
from benchmarks.usage import cpu_seconds

RATE = 40_000  # packets a second, of all flows together
FAN_OUT_RATE = 5_000

PROCESSES = Question(
    "load",
    "What does a packet cost the relaying processes at 40 kpps?",
    "us",
    "CPU time of all processes of the relay for each packet sent, waking up and going to sleep included;"
    " fan-out at 5 kpps",
)
ALL = Question(
    "path",
    "What does a packet cost the machine at 40 kpps?",
    "us",
    "CPU time of the relay, of the kernel's interrupt threads and of the generator, in which kernels forward,"
    " for each packet sent, less that of the same traffic with no relay there; up to the receiver's socket."
    " No figure where packets were lost",
)


class Cost(NamedTuple):
    """CPU seconds of the relay's processes, and of all that took part, in a trial."""

    processes: float
    all: float
    trial: Trial


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Relay at an even rate; where packets are lost, there is no figure."""
    for case in _cases(effort):
        with testbed.sinks(case.copies) as sinks:
            without = _cost(testbed, sinks, case, effort)
        for relay in RELAYS:
            if relay.why_not(case) is None:
                with started(testbed, relay, case) as sinks:
                    cost = _cost(testbed, sinks, case, effort)
                yield from _samples(case, relay, cost, without)


def _samples(case: Case, relay: Relay, cost: Cost, without: Cost) -> Iterator[Sample]:
    """Yield microseconds for each packet sent."""
    if not cost.trial.is_lossless:
        return
    if cost.processes:
        yield Sample(PROCESSES, case.name, relay.name, cost.processes / cost.trial.arrived * 1e6)
    added = cost.all / cost.trial.sent.packets - without.all / without.trial.sent.packets
    yield Sample(ALL, case.name, relay.name, added / case.outputs * 1e6)


def _cases(effort: Effort) -> list[Case]:
    return [ONE_FLOW, *([FLOWS_50, FAN_OUT_8, RULES_10000] if effort.is_thorough else [])]


def _cost(testbed: Testbed, sinks: Sinks, case: Case, effort: Effort) -> Cost:
    """Return what was used during a trial."""
    processes = testbed.relay.processes()
    relaying, sending = cpu_seconds(processes), testbed.sending_seconds()
    trial = testbed.trial(sinks, case, FAN_OUT_RATE if case.outputs > 1 else RATE, effort.paced)
    used = cpu_seconds(processes) - relaying
    return Cost(used, used + testbed.sending_seconds() - sending, trial)
