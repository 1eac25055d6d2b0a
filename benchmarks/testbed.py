"""The network of a benchmark, and its traffic.

    sender                 relay                       receiver
    10.1.0.2/24 -------- eth0 10.1.0.1/24
                         eth1 10.2.0.1/24 ------------ 10.2.0.2/24

The links are veth pairs. The sender's device splits runs of packets, as a cable does. The relay's output
device has its default features, as on a user's host. The source is routable and its TTL is 16, as kernel
routing needs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.case import Case
from benchmarks.generator import Generator, Sent
from benchmarks.sinks import DeviceCounter, Sinks
from benchmarks.usage import cpu_seconds, interrupt_seconds, interrupt_threads
from mcrelay.lab import Lab
from mcrelay.lab.offload import switch_offload
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.pacer import ROUND_S

SENDER, RELAY_IN, RELAY_OUT = "10.1.0.2", "10.1.0.1", "10.2.0.1"
SEGMENTATION = "tx-udp-segmentation"  # a feature of a device
QUIET_S = 0.2  # without a new packet: then no packet is under way any more
ARRIVAL_TIMEOUT_S = 30.0  # after the last packet was sent: fifty socats with full buffers take 3 s


@dataclass(frozen=True, slots=True)
class Transfer:
    """Packets sent at a steady rate, and the number that arrived at all outputs together."""

    sent: Sent
    expected: int
    arrived: int

    @property
    def is_lossless(self) -> bool:
        """Whether every packet arrived at every output."""
        return self.arrived == self.expected


class Testbed:
    """Sender, relay host and receiver. They are removed at the end of the `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Testbed:
        with ExitStack() as stack:
            lab = stack.enter_context(Lab())
            self.sender, self.relay, self.receiver = (
                lab.host(name) for name in ("sender", "relay", "receiver")
            )
            lab.link(self.sender.end("eth0", f"{SENDER}/24"), self.relay.end("eth0", f"{RELAY_IN}/24"))
            lab.link(self.relay.end("eth1", f"{RELAY_OUT}/24"), self.receiver.end("eth0", "10.2.0.2/24"))
            self.receiver.ip(f"route add 10.1.0.0/24 via {RELAY_OUT}")  # for its reverse path filter
            with self.relay.enter_namespace():
                switch_offload("eth1", SEGMENTATION, on=True)
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcrelay-bench-")))
            generator_cpu, self._relay_cpu = _processors()
            self.generator = stack.enter_context(Generator(self.sender, "eth0", generator_cpu))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def sinks(self, destinations: list[Endpoint]) -> Sinks:
        """Return sockets on the receiver that count packets, for a `with` block."""
        return Sinks(self.receiver, "eth0", destinations)

    def counter(self, destinations: list[Endpoint], size: float) -> DeviceCounter:
        """Return a counter on the receiver's device; `size` is the mean payload in bytes."""
        [port] = {one.port for one in destinations}
        return DeviceCounter(self.receiver, "eth0", port, size)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keep processes that are started in this block off the generator's processor."""
        before = os.sched_getaffinity(0)
        if self._relay_cpu is not None:
            os.sched_setaffinity(0, {self._relay_cpu})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    @contextmanager
    def without_segmentation_offload(self) -> Iterator[None]:
        """Let the relay's kernel cut runs of packets during the block, as for many network cards."""
        with self.relay.enter_namespace():
            switch_offload("eth1", SEGMENTATION, on=False)
        try:
            yield
        finally:
            with self.relay.enter_namespace():
                switch_offload("eth1", SEGMENTATION, on=True)

    def sending_seconds(self) -> float:
        """Return the CPU time of the generator and of interrupts so far.

        The kernel processes a packet in the process that sent it, until another process has to take over: up
        to a relay's buffer, or through a relay in the kernel up to the receiver's socket.
        """
        return cpu_seconds([self.generator.process, *interrupt_threads()]) + interrupt_seconds()

    def transfer(
        self,
        sinks: Sinks | DeviceCounter,
        case: Case,
        rate: float,
        seconds: float,
        round_s: float = ROUND_S,
    ) -> Transfer:
        """Send at `rate` packets a second for `seconds`, and count the packets that arrive.

        Packets that are due within `round_s` seconds are sent together.
        """
        sinks.reset()
        sent = self.generator.send(case, rate, seconds, round_s)
        expected = sent.packets * case.outputs
        return Transfer(sent, expected, wait_for_arrivals(sinks, expected))


def wait_for_arrivals(sinks: Sinks | DeviceCounter, expected: int) -> int:
    """Wait until all packets have arrived or no more arrive, and return how many arrived."""
    began = last_change = time.monotonic()
    arrived = -1
    while (now := time.monotonic()) - began < ARRIVAL_TIMEOUT_S:
        if (count := sinks.count()) != arrived:
            arrived, last_change = count, now
        if arrived == expected or now - last_change > QUIET_S:
            break
        time.sleep(sinks.pause)
    return arrived


def _processors() -> tuple[int | None, int | None]:
    """Return a processor for the generator and one for the relay, None for both if there is only one."""
    processors = sorted(os.sched_getaffinity(0))
    return (processors[0], processors[1]) if len(processors) > 1 else (None, None)
