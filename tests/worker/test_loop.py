"""A worker relays what waits in its rings before it changes: the kernel may relay what follows."""

import os
import socket
from types import SimpleNamespace

import pytest

from mcrelay.ipc.channel import BlockingChannel, ChannelClosed
from mcrelay.model.counters import COUNTERS_SIZE
from mcrelay.protocol.framing import (
    MAX_BATCH,
    MAX_PACKET,
    PROCESS_PROTOCOL,
    Assembler,
    Hello,
    cut_into_packets,
)
from mcrelay.protocol.worker import Acknowledged, BatchMessage, Refused, decode_answer, encode_batch
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.forwarding import InstructionError
from mcrelay.worker.loop import Worker

BATCH = BatchMessage(7, 1, ())


class Stage:
    """A worker with rings whose packets are a number, and what it did in its order."""

    def __init__(self, error=None):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("counters")
        os.ftruncate(memory, COUNTERS_SIZE)
        self.worker = Worker(BlockingChannel(theirs.detach()), CounterWriter(memory), 1 << 20)
        self.error, self.events, self.waiting = error, [], {}
        self.worker._array_path = SimpleNamespace(relay=self._relay)
        self.rings = {}
        self.worker._forwarding = SimpleNamespace(
            apply=self._apply,
            ingress=self.rings,
            return_sockets=(),
            scalar_link=lambda _: SimpleNamespace(relay=lambda: False),
        )
        self._answers = Assembler(MAX_BATCH)

    def add_ring(self, name, packets):
        self.waiting[name] = packets
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # on which poll(2) finds nothing
        ring = SimpleNamespace(socket=end)
        self.rings[name] = SimpleNamespace(name=name, ring=ring, row=0, any_source_routes=None)
        self.worker._register_sockets()

    def _relay(self, ingress):
        if not self.waiting[ingress.name]:
            return False
        self.waiting[ingress.name] -= 1
        self.events.append(ingress.name)
        return True

    def _apply(self, batch, descriptors):
        self.events.append(batch)
        if self.error:
            raise self.error

    def send(self, batch):
        for packet in cut_into_packets(encode_batch(batch)):
            self.ours.sendall(packet.data)

    def answer(self):
        return decode_answer(self._answers.feed(self.ours.recv(MAX_PACKET))[0])

    def close(self):
        for ingress in self.rings.values():
            ingress.ring.socket.close()
        self.ours.close()


@pytest.fixture
def open_stage():
    stages = []

    def opened(error=None):
        stages.append(Stage(error))
        stages[-1].add_ring("eth0", 2)
        stages[-1].add_ring("eth1", 1)
        return stages[-1]

    yield opened
    for stage in stages:
        stage.close()


def test_what_waits_in_the_rings_is_relayed_before_a_batch_is_applied_and_answered(open_stage):
    stage = open_stage()
    stage.send(BATCH)
    stage.worker.turn(0)
    assert stage.events == ["eth0", "eth0", "eth1", BATCH]
    assert stage.answer() == Acknowledged(7)


def test_a_batch_that_cannot_be_applied_is_refused_with_the_reason(open_stage):
    stage = open_stage(InstructionError(3, "no room"))
    stage.send(BATCH)
    stage.worker.turn(0)
    assert stage.answer() == Refused(7, 3, "no room")


def test_a_worker_that_ends_relays_what_waits_in_its_rings(open_stage):
    stage = open_stage()
    stage.ours.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosed):
        stage.worker.run()
    assert stage.answer() == Hello(PROCESS_PROTOCOL)
    assert stage.events == ["eth0", "eth0", "eth1"]
