"""The worker's loop: batches from the supervisor, packets from the rings."""

from __future__ import annotations

import select
from typing import NoReturn

from mcrelay.ipc.channel import BlockingChannel
from mcrelay.model.drops import Drop
from mcrelay.protocol.framing import PROTOCOL, Hello
from mcrelay.protocol.worker import Acknowledged, Answer, Refused, decode_batch, encode_answer
from mcrelay.worker.array_path import ArrayPath
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.forwarding import Forwarding, Ingress, Refusal

# Batches of one link before the others, and the supervisor, have a turn.
TURN = 16


class Worker:
    """One process that forwards."""

    def __init__(self, channel: BlockingChannel, tally: CounterWriter, ring_octets: int) -> None:
        self._channel = channel
        self._tally = tally
        self._forwarding = Forwarding(tally, ring_octets)
        self._relay = ArrayPath(self._forwarding, tally)
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._by_descriptor: dict[int, Ingress] = {}

    def run(self) -> NoReturn:
        """Forward until the supervisor ends; raises ChannelClosed."""
        self._answer(Hello(PROTOCOL))
        while True:
            self.turn(None)

    def turn(self, timeout: float | None) -> None:
        """Wait for something to do, `timeout` milliseconds at the most, and do it."""
        for descriptor, event in self._poll.poll(timeout):
            if ingress := self._by_descriptor.get(descriptor):
                self._read(ingress, event)
            elif descriptor == self._channel.fileno():
                self._take_batch()

    def _read(self, ingress: Ingress, event: int) -> None:
        if event & select.POLLERR:
            ingress.ring.clear_error()
        for _ in range(TURN):
            if not self._relay.relay(ingress):
                break
        if overruns := ingress.ring.overruns():
            self._tally.add_link(ingress.row, **{Drop.OVERRUN: overruns})

    def _take_batch(self) -> None:
        text, descriptors = self._channel.receive()
        batch = decode_batch(text)
        try:
            self._forwarding.apply(batch, descriptors)
        except Refusal as refusal:
            self._answer(Refused(batch.number, refusal.index, refusal.reason))
        else:
            self._watch_rings()
            self._answer(Acknowledged(batch.number))

    def _answer(self, answer: Answer) -> None:
        self._channel.send(encode_answer(answer))

    def _watch_rings(self) -> None:
        """Poll the rings that are open now. A closed descriptor's number may belong to a new ring."""
        for descriptor in self._by_descriptor:
            self._poll.unregister(descriptor)
        self._by_descriptor = {one.ring.socket.fileno(): one for one in self._forwarding.ingress.values()}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)
