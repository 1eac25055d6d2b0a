"""The CPU time of a packet at the rates of real streams, smooth and in bursts of a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.case import LARGE, ONE_FLOW
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import Sent
from benchmarks.peers import IN_USER_SPACE, RELAYS, run_relay
from benchmarks.sinks import DeviceCounter
from benchmarks.testbed import Testbed
from benchmarks.usage import cpu_seconds, forwarders

QUESTION = Question(
    "paced",
    "What does relaying a packet cost at the rates of real streams?",
    "us",
    "1 flow, 1400 B; CPU time for each packet sent of the processes that handle packets, with their system"
    " calls up to the receiver's device, waking up and going to sleep. The kernel's work up to a process's"
    " buffer runs in the process that sends, and is not counted. For a relay in the kernel, it is what the"
    " relay adds to the CPU time of the generator and of interrupts. Smooth: packets due within 0.1 ms are"
    " sent together; bursts: within 1 ms. No figure if packets were lost or the generator was too slow",
)
SMOOTH_S, BURST_S = 0.0001, 0.001
RATES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
QUICK_RATES = (1_000, 10_000, 50_000)
MIN_RATE, MAX_ROUND = 0.95, 1.5  # of what was wanted: otherwise the generator did not pace


@dataclass(frozen=True, slots=True)
class Pace:
    """Packets a second, and the time in seconds within which due packets are sent together."""

    rate: int
    round_s: float

    @property
    def label(self) -> str:
        """The name of the case in this part."""
        shape = "bursts of 1 ms" if self.round_s == BURST_S else "smooth"
        return f"{self.rate // 1000:,} kpps, {shape}"

    def was_kept(self, sent: Sent) -> bool:
        """Return whether the generator kept the rate, and did not send larger rounds to catch up."""
        wanted = max(1, int(self.rate * self.round_s))
        return sent.rate >= MIN_RATE * self.rate and sent.round <= MAX_ROUND * wanted


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds for each packet: of the relay's processes, and of the generator and interrupts."""

    relaying: float
    sending: float
    was_paced: bool
    is_lossless: bool


def paces(effort: Effort) -> list[Pace]:
    """Return all paces. At 1 kpps a burst of a millisecond is one packet."""
    rates = RATES if effort.is_thorough else QUICK_RATES
    smooth = [Pace(rate, SMOOTH_S) for rate in rates]
    return smooth + [Pace(rate, BURST_S) for rate in rates[1:]]


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Send at each pace without a relay, and through each relay."""
    with testbed.counter(ONE_FLOW.inputs, LARGE) as counter:
        alone = {pace: _transfer(testbed, counter, pace, effort, []) for pace in paces(effort)}
    for relay in RELAYS:
        with (
            run_relay(testbed, relay, ONE_FLOW),
            testbed.counter(relay.destinations(ONE_FLOW), LARGE) as counter,
        ):
            processes = forwarders(testbed.relay.processes())
            for pace in paces(effort):
                cost = _transfer(testbed, counter, pace, effort, processes)
                if not (cost.is_lossless and cost.was_paced):
                    continue
                value = cost.relaying
                if relay not in IN_USER_SPACE:
                    if not alone[pace].was_paced:
                        continue
                    value = cost.sending - alone[pace].sending
                yield Sample(QUESTION, pace.label, relay.name, value * 1e6)


def _transfer(
    testbed: Testbed, counter: DeviceCounter, pace: Pace, effort: Effort, processes: list[int]
) -> Cost:
    relaying, sending = cpu_seconds(processes), testbed.sending_seconds()
    transfer = testbed.transfer(counter, ONE_FLOW, pace.rate, effort.paced, pace.round_s)
    packets = transfer.sent.packets
    return Cost(
        (cpu_seconds(processes) - relaying) / packets,
        (testbed.sending_seconds() - sending) / packets,
        pace.was_kept(transfer.sent),
        transfer.is_lossless,
    )
