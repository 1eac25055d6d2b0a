"""A worker on the test's bench: real rings, sockets and packets, in the test's own process.

The supervisor's side is what the supervisor uses: its sockets, its ledger, the messages of the wire.
"""

import gc
import itertools
import socket
import struct
import time
from dataclasses import dataclass

from mcrelay.ipc.channel import BlockingChannel
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.state import Egress, Flow, Ingress, Output, Route
from mcrelay.protocol.framing import MAX_PACKET, cut_into_packets
from mcrelay.protocol.worker import BatchMessage, decode_answer, encode_batch
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.privileged import RING_OCTETS
from mcrelay.supervisor.sockets import Sockets
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.loop import Worker
from tests.netns.support.frames import GROUP, PORT

SO_RCVBUFFORCE = 33  # asm-generic/socket.h
IP_RECVTTL = 12  # linux/in.h

WORKER = 0


class Bench:
    """One worker that relays on a studio's relay host, and a raw wire from the studio's sender."""

    def __init__(self, studio):
        self.studio = studio
        self.sockets, self.ledger = Sockets(), CounterRows()
        self._numbers = itertools.count(1)
        with studio.relay.entered():
            self.eth0, self.eth1, self.eth2 = (socket.if_nametoindex(f"eth{n}") for n in range(3))
        with studio.sender.entered():
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.wire.bind(("eth0", 0))
        self.left, self.right = Egress(self.eth1, "10.2.0.1"), Egress(self.eth2, "10.3.0.1")
        self.start()

    def start(self):
        """Start a worker; it has the memory of the one before."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(TIMEOUT_S)
        tally = CounterWriter(self.ledger.memory(WORKER).shared.descriptor)
        self.worker = Worker(BlockingChannel(theirs.detach()), tally, RING_OCTETS)

    def die(self):
        """End the worker as a signal would: whatever it has open is closed, and nothing else is done."""
        self.channel.close()
        del self.worker
        gc.collect()

    def order(self, *actions):
        """Have the worker carry out actions as one batch, and return its answer."""
        with self.studio.relay.entered():
            supply = self.sockets.supply(actions)
        resumed = (index in supply.resumed for index in range(len(actions)))
        steps = map(self.ledger.instruction, actions, resumed)
        return self.say(list(steps), [sock.fileno() for sock in supply.sockets])

    def say(self, instructions, descriptors):
        """Send the worker exactly this batch, with these descriptors, and return its answer."""
        text = encode_batch(BatchMessage(next(self._numbers), 1, tuple(instructions)))
        for packet in cut_into_packets(text, descriptors):
            socket.send_fds(self.channel, [packet.data], packet.descriptors)
        self.worker.turn(TIMEOUT_S * 1000)
        return decode_answer(self.channel.recv(MAX_PACKET)[1:])

    def feed(self, *outputs, group=GROUP, sources=(None,), frame_size=2048, rule="feed"):
        """Return the actions that make a worker relay from the studio's group to these outputs."""
        egress = dict.fromkeys(output.egress for output in outputs)
        return [
            Open(WORKER, Ingress(self.eth0, frame_size)),
            *(Open(WORKER, one) for one in egress),
            *self.flows(*outputs, group=group, sources=sources, rule=rule),
        ]

    def flows(self, *outputs, group=GROUP, port=PORT, sources=(None,), rule="feed"):
        """Return the actions for the flows of one rule."""
        route = Route(rule, outputs)
        return [SetFlow(WORKER, Flow(self.eth0, group, port, source), route) for source in sources]

    def to_left(self, destination="239.2.2.2", port=6001, ttl=64, dscp=0):
        """Return an output on the left."""
        return Output("left", self.left, destination, port, ttl, dscp)

    def to_right(self, destination="239.2.2.2", port=6001, ttl=64, dscp=0):
        """Return an output on the right."""
        return Output("right", self.right, destination, port, ttl, dscp)

    def send(self, *frames):
        """Put frames on the wire to the relay."""
        for frame in frames:
            self.wire.send(bytes(frame))

    def relay(self, *frames):
        """Put frames on the wire that the filter takes, and let the worker deal with each."""
        seen = self.link["packets"]
        self.send(*frames)
        self.relay_waiting(seen + len(frames))

    def relay_waiting(self, total):
        """Let the worker deal with what waits, until it has seen `total` packets in its life and before."""
        self.turn_until(lambda: self.link["packets"] >= total)
        assert self.link["packets"] == total

    def turn_until(self, condition):
        """Let the worker do what there is to do until `condition` holds."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, self.link
            self.worker.turn(50)

    @property
    def link(self):
        """The counters of the studio's link."""
        return self.ledger.link(self.eth0)

    def drops(self, rule="feed"):
        """What was not relayed, and why: by the rule, and by the link for want of one."""
        names = ("no_rule", "fragment", "malformed", "oversize", "source", "own", "overrun")
        return tuple(
            {name: row[name] for name in names if row.get(name)}
            for row in (self.ledger.rule(rule), self.link)
        )


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a receiver got."""

    payload: bytes
    source: str
    source_port: int
    ttl: int
    tos: int


class Ear:
    """A plain UDP socket on a host, a member of one group where the destination is one."""

    def __init__(self, host, destination="239.2.2.2", port=6001):
        with host.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            for option in (IP_RECVTTL, socket.IP_RECVTOS):
                self.socket.setsockopt(socket.IPPROTO_IP, option, 1)
            self.socket.bind((destination, port))
            if destination >= "224":
                device = socket.if_nametoindex("eth0")
                request = struct.pack("=4s4si", socket.inet_aton(destination), bytes(4), device)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def heard(self, count):
        """Return the next `count` datagrams; there are no more than these."""
        self.socket.settimeout(TIMEOUT_S)
        datagrams = [self._next() for _ in range(count)]
        assert self.waiting() == []
        return datagrams

    def payloads(self, count):
        """Return the payloads of the next `count` datagrams; there are no more than these."""
        return [datagram.payload for datagram in self.heard(count)]

    def first(self):
        """Wait for a datagram, and return its payload."""
        self.socket.settimeout(TIMEOUT_S)
        return self._next().payload

    def waiting(self):
        """Return the payloads of the datagrams that are there by now."""
        self.socket.settimeout(0)
        found = []
        while True:
            try:
                found.append(self._next().payload)
            except BlockingIOError:
                return found

    def _next(self):
        payload, controls, _, (source, port) = self.socket.recvmsg(65535, 128)
        values = {kind: data[0] for _, kind, data in controls}
        return Datagram(payload, source, port, values[socket.IP_TTL], values[socket.IP_TOS])


def numbered(count, size=100):
    """Return payloads that tell their places."""
    return [struct.pack("!I", number).ljust(size, b"\xa5") for number in range(count)]
