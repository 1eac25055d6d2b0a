"""The highest rate at which no packet is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bisection import Attempt, highest
from benchmarks.case import FAN_OUT_8, FAN_OUT_50, FLOWS_50, ONE_FLOW, SMALL_PACKETS, Case
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import UNLIMITED
from benchmarks.peers import ALL_RELAYS, run_relay
from benchmarks.sinks import Sinks
from benchmarks.testbed import Testbed

QUESTION = Question(
    "rate",
    "How many packets a second are relayed with none lost?",
    "kpps",
    "incoming packets, by bisection; lossless means that each copy of each packet was counted at a UDP socket"
    " of the receiver; `+` means that the generator, which shares the machine, could not send more",
    is_more_better=True,
)


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Search for the highest lossless rate of each relay in each case."""
    for case in _cases(effort):
        for relay in ALL_RELAYS:
            if relay.why_not(case) is None:
                with run_relay(testbed, relay, case) as sinks:
                    found = highest(_attempts(testbed, sinks, case, effort), UNLIMITED, effort.precision)
                yield Sample(QUESTION, case.name, relay.name, found.rate / 1000, found.is_bound)


def _cases(effort: Effort) -> list[Case]:
    thorough = [FLOWS_50, FAN_OUT_8, FAN_OUT_50]
    return [ONE_FLOW, SMALL_PACKETS, *(thorough if effort.is_thorough else [])]


def _attempts(testbed: Testbed, sinks: Sinks, case: Case, effort: Effort) -> Callable[[float], Attempt]:
    def attempt(rate: float) -> Attempt:
        transfer = testbed.transfer(sinks, case, rate, effort.transfer)
        return Attempt(transfer.sent.rate, transfer.is_lossless)

    return attempt
