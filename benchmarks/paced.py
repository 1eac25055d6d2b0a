"""The CPU time of a packet at the rates of real streams, smooth and in bursts of a millisecond.

A relay in the kernel has no process: it runs in the process that sends, or in a kernel thread. A relay in a
process makes the kernel work for it in the process that sends, up to its buffer, and wakes up. So the method
is one for all relays: the CPU time of everything that takes part, less that of the same traffic without any
relay in the same run. What takes part is the generator, all processes of the relay, the kernel's interrupt
threads and, where the kernel accounts them apart, interrupts. All of it is counted by the scheduler in
nanoseconds, while /proc/stat counts ticks, which a paced generator would meet or miss systematically, and
also counts other processes of the machine. A busy machine still disturbs, as caches and cores are shared.

Without a relay, the relay's host drops the packets in its stack. What a relay saves there is subtracted: an
exclusive rule, or a filter that drops, can have less than the cost of its own work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.case import LARGE, ONE_FLOW
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import Sent
from benchmarks.peers import ALL_RELAYS, run_relay
from benchmarks.sinks import DeviceCounter
from benchmarks.testbed import Testbed
from benchmarks.usage import cpu_seconds

QUESTION = Question(
    "paced",
    "What does relaying a packet cost at the rates of real streams?",
    "us",
    "1 flow, 1400 B; CPU time for each packet sent of all that takes part (generator, the relay's processes,"
    " the kernel's interrupt threads), less that of the same traffic without a relay; up to the receiver's"
    " device, with waking up and going to sleep. The same method for all relays. Smooth: packets due within"
    " 0.1 ms are sent together; bursts: within 1 ms. No figure if packets were lost or the generator was too"
    " slow",
)
PROCESSES = Question(
    "paced-processes",
    "How much of that is in the relay's own processes?",
    "us",
    "CPU time of the relay's processes for each packet sent, with their system calls; the kernel's work up to"
    " a process's buffer is not in it. A relay in the kernel has processes that only watch and count",
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
    """CPU seconds for each packet: of the relay's processes, and of all that takes part."""

    processes: float
    all: float
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
        alone = {pace: _cost(testbed, counter, pace, effort, []) for pace in paces(effort)}
    for relay in ALL_RELAYS:
        with (
            run_relay(testbed, relay, ONE_FLOW),
            testbed.counter(relay.destinations(ONE_FLOW), LARGE) as counter,
        ):
            processes = testbed.relay.processes()
            for pace, without in alone.items():
                cost = _cost(testbed, counter, pace, effort, processes)
                if cost.is_lossless and cost.was_paced and without.was_paced:
                    added = cost.all - without.all
                    yield Sample(QUESTION, pace.label, relay.name, added * 1e6)
                    if processes:
                        yield Sample(PROCESSES, pace.label, relay.name, cost.processes * 1e6)


def _cost(testbed: Testbed, counter: DeviceCounter, pace: Pace, effort: Effort, processes: list[int]) -> Cost:
    relaying, sending = cpu_seconds(processes), testbed.sending_seconds()
    transfer = testbed.transfer(counter, ONE_FLOW, pace.rate, effort.pace, pace.round_s)
    used = cpu_seconds(processes) - relaying
    packets = transfer.sent.packets
    return Cost(
        used / packets,
        (used + testbed.sending_seconds() - sending) / packets,
        pace.was_kept(transfer.sent),
        transfer.is_lossless,
    )
