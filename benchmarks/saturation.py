"""The CPU time of a packet while the relay is never idle.

The two kinds of relays are not measured in the same way here, as a generator cannot keep a process busy that
is faster than itself. What a process costs in all, at rates that both kinds keep up with, say `paced` and
`load`.
"""

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
    RULES_10000,
    SMALL_PACKETS,
    Case,
)
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import UNLIMITED
from benchmarks.peers import ALL_RELAYS, Relay, run_relay
from benchmarks.sinks import DeviceCounter
from benchmarks.testbed import Testbed, wait_for_arrivals
from benchmarks.usage import cpu_seconds, forwarders

QUESTION = Question(
    "saturation",
    "What does relaying a packet cost at saturation?",
    "us",
    "CPU time for each packet sent. A process that handles packets is stopped while its receive buffer is"
    " filled, then continued, and measured until the buffer is empty. For a relay in the kernel, it is what"
    " the relay adds to the CPU time of a generator at full rate. The receiver's device counts and drops the"
    " packets, so that a receiver's work is not included. `no offload`: the relay's kernel cuts runs of"
    " packets before the output device gets them",
)
FILLING_S = 0.2
RATE = 120_000  # packets a second: 24,000 packets overfill a ring of 32 MiB with frames of 2 KiB
TRIES = 3
CUT = ", no offload"  # in the name of a case: the output device does not cut runs of packets


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Let relays that are processes empty full buffers, and send at full rate through the others."""
    for case in _cases(effort):
        for relay in ALL_RELAYS:
            if relay.why_not(case) is None:
                yield from _samples(testbed, relay, case)


def _samples(testbed: Testbed, relay: Relay, case: Case) -> Iterator[Sample]:
    """Measure a relay with and without segmentation offload of the output device."""
    alone = _sending(testbed, case) if relay.is_in_kernel else 0.0

    def cost() -> float:
        value = _sending(testbed, case) - alone if relay.is_in_kernel else _relaying(testbed, counter, case)
        return value / case.outputs * 1e6

    size = statistics.fmean(case.lengths)
    with run_relay(testbed, relay, case), testbed.counter(relay.destinations(case), size) as counter:
        yield Sample(QUESTION, case.name, relay.name, cost())
        with testbed.without_segmentation_offload():
            yield Sample(QUESTION, f"{case.name}{CUT}", relay.name, cost())


def _cases(effort: Effort) -> list[Case]:
    thorough = [SMALL_PACKETS, FLOWS_50, FAN_OUT_50]
    quick = [ONE_FLOW, DIFFERING, FAN_OUT_8, RULES_10000]
    return quick + (thorough if effort.is_thorough else [])


def _relaying(testbed: Testbed, counter: DeviceCounter, case: Case) -> float:
    processes = forwarders(testbed.relay.processes())
    return statistics.median(drain_cost(testbed, processes, counter, case) for _ in range(TRIES))


def drain_cost(testbed: Testbed, processes: list[int], counter: DeviceCounter, case: Case) -> float:
    """Return the CPU seconds of processes for each packet that was in their buffers and was relayed."""
    counter.reset()
    with pause(processes):
        sent = testbed.generator.send(case, RATE, FILLING_S)
        before = cpu_seconds(processes)
    relayed = wait_for_arrivals(counter, sent.packets * case.outputs) / case.outputs
    return (cpu_seconds(processes) - before) / relayed


def _sending(testbed: Testbed, case: Case) -> float:
    """Return the CPU seconds for each packet sent at full rate, including the work of the kernel."""
    return statistics.median(_sent(testbed, case) for _ in range(TRIES))


def _sent(testbed: Testbed, case: Case) -> float:
    before = testbed.sending_seconds()
    sent = testbed.generator.send(case, UNLIMITED, FILLING_S)
    return (testbed.sending_seconds() - before) / sent.packets


@contextmanager
def pause(processes: list[int]) -> Iterator[None]:
    """Stop processes during the block."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
