"""What a packet costs a relay that is never idle."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.case import (
    DIFFERING,
    FAN_OUT_8,
    FAN_OUT_50,
    FLOWS_50,
    ONE_FLOW,
    RULES_100,
    RULES_10000,
    SMALL_PACKETS,
    Case,
)
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import UNLIMITED
from benchmarks.peers import IN_USER_SPACE, RELAYS, started
from benchmarks.sinks import Cable
from benchmarks.testbed import Testbed, settled
from benchmarks.usage import cpu_seconds, forwarders

QUESTION = Question(
    "saturation",
    "What does relaying a packet cost at saturation?",
    "us",
    "CPU time for each packet sent. Of a process that handles packets: while it works off a full receive"
    " buffer, for which it is stopped, its buffer filled, and let go. Of a relay in the kernel: what it adds"
    " to the CPU time of a generator at full rate. Up to the receiver's device, which counts and drops: what"
    " a receiver does is none of a relay's cost",
)
FILLING = 0.2  # seconds
RATE = 120_000  # packets a second: 24,000 overfill a ring of 32 MiB in frames of 2 KiB
TRIES = 3


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Let relays that are processes work off full buffers, and send through the others as fast as it goes."""
    for case in _cases(effort):
        alone = _sending(testbed, case)
        for relay in RELAYS:
            if relay.why_not(case) is None:
                destinations = relay.destinations(case)
                with (
                    started(testbed, relay, case),
                    testbed.cable(destinations, statistics.fmean(case.lengths)) as cable,
                ):
                    value = (
                        _relaying(testbed, cable, case)
                        if relay in IN_USER_SPACE
                        else _sending(testbed, case) - alone
                    )
                yield Sample(QUESTION, case.name, relay.name, value / case.outputs * 1e6)


def _cases(effort: Effort) -> list[Case]:
    thorough = [FAN_OUT_50, RULES_100]
    quick = [ONE_FLOW, SMALL_PACKETS, DIFFERING, FLOWS_50, FAN_OUT_8, RULES_10000]
    return quick + (thorough if effort.is_thorough else [])


def _relaying(testbed: Testbed, cable: Cable, case: Case) -> float:
    processes = forwarders(testbed.relay.processes())
    return statistics.median(worked_off(testbed, processes, cable, case) for _ in range(TRIES))


def worked_off(testbed: Testbed, processes: list[int], cable: Cable, case: Case) -> float:
    """Return the CPU seconds of processes for each packet that came into their buffers and was relayed."""
    cable.reset()
    with stopped(processes):
        sent = testbed.generator.send(case, RATE, FILLING)
        before = cpu_seconds(processes)
    relayed = settled(cable, sent.packets * case.outputs) / case.outputs
    return (cpu_seconds(processes) - before) / relayed


def _sending(testbed: Testbed, case: Case) -> float:
    """Return the CPU seconds for each packet sent at full rate, all that the kernel then does included."""
    return statistics.median(_sent(testbed, case) for _ in range(TRIES))


def _sent(testbed: Testbed, case: Case) -> float:
    before = testbed.sending_seconds()
    sent = testbed.generator.send(case, UNLIMITED, FILLING)
    return (testbed.sending_seconds() - before) / sent.packets


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """Let processes stand still during the block."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
