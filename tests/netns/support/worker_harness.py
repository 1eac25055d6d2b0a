"""A worker in the process of the test, with real rings, sockets and packets.

Its supervisor is made of the parts of the real one: the sockets, the counter rows, the messages.
"""

import gc
import itertools
import socket
import struct
import time
from dataclasses import dataclass

from mcrelay.ipc.channel import BlockingChannel
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.linux.constants import IP_RECVTTL, SO_RCVBUFFORCE
from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.counters import LINKS, RULES
from mcrelay.model.state import Egress, Flow, Ingress, Route, RouteOutput
from mcrelay.protocol.framing import MAX_PACKET, cut_into_packets
from mcrelay.protocol.worker import BatchMessage, decode_answer, encode_batch
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.privileged import RING_OCTETS
from mcrelay.supervisor.sockets import Sockets
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.loop import Worker
from tests.netns.support.frames import GROUP, PORT

WORKER = 0  # number of the worker

# Numbers of packets that the scalar path relays, and that the array path relays.
FEW, MANY = 1, 150


class WorkerHarness:
    """A worker on the relay host of a studio, and a packet socket on the sender, which sends any frame."""

    def __init__(self, studio):
        self.studio = studio
        self.sockets, self.counter_rows = Sockets(), CounterRows()
        self._numbers = itertools.count(1)
        with studio.relay.enter_namespace():
            self.eth0, self.eth1, self.eth2 = (socket.if_nametoindex(f"eth{n}") for n in range(3))
        with studio.sender.enter_namespace():
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.wire.bind(("eth0", 0))
        self.left, self.right = Egress(self.eth1, "10.2.0.1"), Egress(self.eth2, "10.3.0.1")
        self.start_worker()

    def start_worker(self):
        """Start a worker with the counters and rings of the previous one."""
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(TIMEOUT_S)
        counters = CounterWriter(self.counter_rows.memory(WORKER).shared.descriptor)
        self.worker = Worker(BlockingChannel(theirs.detach()), counters, RING_OCTETS)

    def kill_worker(self):
        """End the worker like SIGKILL does: its descriptors are closed, and it cleans up nothing."""
        self.channel.close()
        del self.worker
        gc.collect()

    def apply(self, *actions):
        """Let the worker apply actions as one batch, and return its answer."""
        with self.studio.relay.enter_namespace():
            supply = self.sockets.supply(actions)
        resumed = (index in supply.resumed for index in range(len(actions)))
        steps = map(self.counter_rows.instruction, actions, resumed)
        return self.send_batch(list(steps), [sock.fileno() for sock in supply.sockets])

    def apply_rule(self, *outputs, **options):
        """Let the worker apply the actions of `rule_actions`, and return its answer."""
        return self.apply(*self.rule_actions(*outputs, **options))

    def send_batch(self, instructions, descriptors):
        """Send the worker a batch of instructions with these descriptors, and return its answer."""
        text = encode_batch(BatchMessage(next(self._numbers), 1, tuple(instructions)))
        for packet in cut_into_packets(text, descriptors):
            socket.send_fds(self.channel, [packet.data], packet.descriptors)
        self.worker.turn(TIMEOUT_S * 1000)
        return decode_answer(self.channel.recv(MAX_PACKET)[1:])

    def rule_actions(self, *outputs, group=GROUP, sources=(None,), frame_size=2048, rule="feed"):
        """Return the actions that open the link and the egress sockets of a rule, and set its flows."""
        egress = dict.fromkeys(output.egress for output in outputs)
        return [
            Open(WORKER, Ingress(self.eth0, frame_size)),
            *(Open(WORKER, one) for one in egress),
            *self.flow_actions(*outputs, group=group, sources=sources, rule=rule),
        ]

    def flow_actions(self, *outputs, group=GROUP, port=PORT, sources=(None,), rule="feed"):
        """Return the actions that set the flows of a rule, one for each source."""
        route = Route(rule, outputs)
        return [SetFlow(WORKER, Flow(self.eth0, group, port, source), route) for source in sources]

    def to_left(self, destination="239.2.2.2", port=6001, ttl=64, dscp=0):
        """Return an output to the left network."""
        return RouteOutput("left", self.left, destination, port, ttl, dscp)

    def to_right(self, destination="239.2.2.2", port=6001, ttl=64, dscp=0):
        """Return an output to the right network."""
        return RouteOutput("right", self.right, destination, port, ttl, dscp)

    def send(self, *frames):
        """Send frames to the relay."""
        for frame in frames:
            self.wire.send(bytes(frame))

    def relay(self, *frames):
        """Send frames that the packet filter accepts, and run the worker until it has read all of them."""
        seen = self.link["packets"]
        self.send(*frames)
        self.relay_total(seen + len(frames))

    def relay_total(self, total):
        """Run the worker until the counters of the link have exactly `total` packets."""
        self.run_until(lambda: self.link["packets"] >= total)
        assert self.link["packets"] == total

    def run_until(self, condition):
        """Run the worker until `condition` returns true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, self.link
            self.worker.turn(50)

    @property
    def link(self):
        """The counters of the link from the sender."""
        return self.counter_rows.link(self.eth0)

    def drops(self, rule="feed"):
        """The counts of packets not relayed, by reason: of the rule, and of the link."""
        names = {*LINKS.drops, *RULES.drops}
        return tuple(
            {name: row[name] for name in names if row.get(name)}
            for row in (self.counter_rows.rule(rule), self.link)
        )


@dataclass(frozen=True, slots=True)
class Datagram:
    """A received datagram."""

    payload: bytes
    source: str
    source_port: int
    ttl: int
    tos: int


class UdpListener:
    """A UDP socket on a host, a member of the group if the destination is a group."""

    def __init__(self, host, destination="239.2.2.2", port=6001):
        with host.enter_namespace():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            for option in (IP_RECVTTL, socket.IP_RECVTOS):
                self.socket.setsockopt(socket.IPPROTO_IP, option, 1)
            self.socket.bind((destination, port))
            if destination >= "224":
                device = socket.if_nametoindex("eth0")
                request = struct.pack("=4s4si", socket.inet_aton(destination), bytes(4), device)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def receive(self, count):
        """Return the next `count` datagrams, and check that no more are waiting."""
        self.socket.settimeout(TIMEOUT_S)
        datagrams = [self._next() for _ in range(count)]
        assert self.receive_waiting() == []
        return datagrams

    def receive_payloads(self, count):
        """Return the payloads of the next `count` datagrams, and check that no more are waiting."""
        return [datagram.payload for datagram in self.receive(count)]

    def receive_first(self):
        """Wait for a datagram and return its payload."""
        self.socket.settimeout(TIMEOUT_S)
        return self._next().payload

    def receive_next(self):
        """Wait for a datagram and return it."""
        self.socket.settimeout(TIMEOUT_S)
        return self._next()

    def receive_waiting(self):
        """Return the payloads of the datagrams that are waiting now."""
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


def numbered_payloads(count, size=100):
    """Return payloads that begin with their index."""
    return [struct.pack("!I", number).ljust(size, b"\xa5") for number in range(count)]
