"""The CPU time of a packet at a moderate rate: of the relay's processes, and of the whole machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.case import FAN_OUT_8, FLOWS_50, ONE_FLOW, Case
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import RELAYS, Relay, run_relay
from benchmarks.sinks import Sinks
from benchmarks.testbed import Testbed, Transfer
from benchmarks.usage import cpu_seconds

RATE = 40_000  # packets a second, of all flows together
FAN_OUT_RATE = 5_000

PROCESSES = Question(
    "load",
    "What does a packet cost the relaying processes at 40 kpps?",
    "us",
    "CPU time of all processes of the relay for each packet sent, including waking up and going to sleep;"
    " fan-out at 5 kpps",
)
ALL = Question(
    "path",
    "What does a packet cost the machine at 40 kpps?",
    "us",
    "CPU time of the relay, of the kernel's interrupt threads and of the generator (in which the kernel"
    " forwards), for each packet sent, less that of the same traffic without a relay; up to the receiver's"
    " socket. No figure if packets were lost",
)


class Cost(NamedTuple):
    """CPU seconds of the relay's processes and of the whole machine, in a transfer."""

    processes: float
    all: float
    transfer: Transfer


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Relay at a steady rate. If packets are lost, there is no figure."""
    for case in _cases(effort):
        with testbed.sinks(case.copies) as sinks:
            without = _cost(testbed, sinks, case, effort)
        for relay in RELAYS:
            if relay.why_not(case) is None:
                with run_relay(testbed, relay, case) as sinks:
                    cost = _cost(testbed, sinks, case, effort)
                yield from _samples(case, relay, cost, without)


def _samples(case: Case, relay: Relay, cost: Cost, without: Cost) -> Iterator[Sample]:
    """Yield microseconds for each packet sent, nothing if packets were lost."""
    if not cost.transfer.is_lossless:
        return
    if cost.processes:
        yield Sample(PROCESSES, case.name, relay.name, cost.processes / cost.transfer.arrived * 1e6)
    added = cost.all / cost.transfer.sent.packets - without.all / without.transfer.sent.packets
    yield Sample(ALL, case.name, relay.name, added / case.outputs * 1e6)


def _cases(effort: Effort) -> list[Case]:
    return [ONE_FLOW, *([FLOWS_50, FAN_OUT_8] if effort.is_thorough else [])]


def _cost(testbed: Testbed, sinks: Sinks, case: Case, effort: Effort) -> Cost:
    """Return the CPU time of a transfer."""
    processes = testbed.relay.processes()
    relaying, sending = cpu_seconds(processes), testbed.sending_seconds()
    transfer = testbed.transfer(sinks, case, FAN_OUT_RATE if case.outputs > 1 else RATE, effort.paced)
    used = cpu_seconds(processes) - relaying
    return Cost(used, used + testbed.sending_seconds() - sending, transfer)
