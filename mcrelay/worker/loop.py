"""The worker's loop, which applies batches from the supervisor and relays packets from the rings."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import NoReturn

from mcrelay.ipc.channel import BlockingChannel, ChannelClosed
from mcrelay.protocol.framing import PROCESS_PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, Answer, Refused, decode_batch, encode_answer
from mcrelay.worker.array_path import ArrayPath
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.forwarding import ActiveIngress, Forwarding, InstructionError
from mcrelay.worker.packet_age import PacketAges
from mcrelay.worker.returns import ReturnPoller

MAX_BATCHES_PER_TURN = 16  # batches of one link, before the other links and the supervisor have their turn


class Worker:
    """A process that forwards packets."""

    def __init__(self, channel: BlockingChannel, counters: CounterWriter, ring_octets: int) -> None:
        self._channel = channel
        self._forwarding = Forwarding(counters, ring_octets)
        self._array_path = ArrayPath(self._forwarding, counters)
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._by_descriptor: dict[int, ActiveIngress] = {}
        self._relay_few: dict[int, Callable[[], bool]] = {}
        """`ScalarLink.relay` of the ring with a descriptor."""
        self._return_poller = ReturnPoller(self._poll)

    @property
    def ages(self) -> PacketAges:
        """Finds stale packets."""
        return self._forwarding.ages

    def run(self) -> NoReturn:
        """Forward packets. Raises ChannelClosed if the supervisor closes the channel."""
        self._answer(Hello(PROCESS_PROTOCOL))
        try:
            while True:
                self.turn(None)
        except ChannelClosed:
            self._read_all()
            raise

    def turn(self, timeout: float | None) -> None:
        """Wait for packets or a batch, at most `timeout` milliseconds, and process all that are ready."""
        if self._return_poller.is_paused:
            timeout = self._return_poller.resume(time.monotonic(), timeout)
        for descriptor, event in self._poll.poll(timeout):
            if relay_few := self._relay_few.get(descriptor):
                if event != select.POLLIN or not relay_few():
                    self._read(self._by_descriptor[descriptor], event)
            elif descriptor == self._channel.fileno():
                self._receive_batch()
            elif sock := self._return_poller.get(descriptor):
                self._forwarding.returns.count(sock, time.time_ns())
                self._return_poller.pause(descriptor, time.monotonic())

    def _read(self, ingress: ActiveIngress, event: int) -> None:
        if event & select.POLLERR:
            ingress.ring.clear_error()
        relay_few = self._relay_few[ingress.ring.socket.fileno()]
        for _ in range(MAX_BATCHES_PER_TURN):
            if not self._array_path.relay(ingress) or relay_few():
                break

    def _read_all(self) -> None:
        """Relay what has come in, before what relays it may go: the kernel relays what comes in now."""
        for ingress in self._by_descriptor.values():
            self._read(ingress, 0)

    def _receive_batch(self) -> None:
        text, descriptors = self._channel.receive()
        self._read_all()
        batch = decode_batch(text)
        try:
            self._forwarding.apply(batch, descriptors)
        except InstructionError as error:
            self._answer(Refused(batch.number, error.index, error.reason))
        else:
            self._register_sockets()
            self._answer(Acknowledged(batch.number))

    def _answer(self, answer: Answer) -> None:
        self._channel.send(encode_answer(answer))

    def _register_sockets(self) -> None:
        """Register all open sockets anew, because a new one may have the number of a closed descriptor."""
        self._return_poller.replace(())
        for descriptor in self._by_descriptor:
            self._poll.unregister(descriptor)
        self._by_descriptor = {
            ingress.ring.socket.fileno(): ingress for ingress in self._forwarding.ingress.values()
        }
        self._relay_few = {
            descriptor: self._forwarding.scalar_link(ingress).relay
            for descriptor, ingress in self._by_descriptor.items()
        }
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)
        self._return_poller.replace(self._forwarding.return_sockets)
