"""The kernel data plane goes on relaying when its daemon dies, and the next daemon changes nothing."""

import socket
import struct
import threading

import pytest

from mcrelay.kernel import layout, loader
from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.layout import KernelOutput, KernelRoute, group_mac
from mcrelay.kernel.maps import possible_cpus
from mcrelay.kernel.opening import open_relay
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.linux.capabilities import Capability, keep_only
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.state import Flow
from tests.netns.support.forked import run_killed
from tests.netns.support.frames import GROUP, PORT
from tests.netns.support.worker_harness import numbered_payloads

LINK, RULE, OUTPUT = 0, 3, 5  # rows of counters
NUMBER = struct.Struct("!I")
CAPABILITIES = (Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN, Capability.CAP_BPF)


@pytest.fixture
def sender(studio):
    with studio.sender.enter_namespace():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.168.168.55"))
        yield sender


class Feed:
    """One flow, from eth0 to 239.2.2.2:6001 on eth1."""

    def __init__(self, relay):
        self._relay = relay
        self.flow = Flow(relay.eth0, GROUP, PORT)
        self.route = KernelRoute(
            RULE,
            LINK,
            (
                KernelOutput(
                    ifindex=relay.eth1,
                    row=OUTPUT,
                    source="10.2.0.1",
                    source_port=4000,
                    destination="239.2.2.2",
                    port=6001,
                    destination_mac=group_mac("239.2.2.2"),
                    source_mac=bytes(6),
                    mtu=1500,
                    ttl=16,
                    dscp="copy",
                ),
            ),
        )

    def open(self):
        return open_relay(self._relay.directory())

    def start(self):
        """Open, fill and attach."""
        plane, maps = self.open()
        maps.set_link(self._relay.eth0, LINK)
        for table, row in ((LINKS, LINK), (RULES, RULE), (OUTPUTS, OUTPUT)):
            maps.ensure_cells(table, row)
        maps.set_flow(self.flow, self.route)
        plane.attach(self._relay.eth0)
        return plane

    def leave(self):
        """Start in a process that has the capabilities of a supervisor, and is killed."""

        def start():
            keep_only(CAPABILITIES)
            self.start()

        run_killed(start)


@pytest.fixture
def feed(relay):
    return Feed(relay)


def packets(plane, table, row):
    reader = CounterReader(possible_cpus())
    for name, descriptor in plane.objects.maps.items():
        reader.add(name, descriptor)
    return reader.row(table, row)[table.columns.index("packets")]


def send(sender, payloads):
    for payload in payloads:
        sender.sendto(payload, (GROUP, PORT))


def test_the_next_daemon_finds_flows_and_counters_and_touches_nothing(feed, relay, sender, left):
    feed.leave()
    payloads = numbered_payloads(200)
    send(sender, payloads)
    assert left.receive_payloads(200) == payloads
    plane, maps = feed.open()
    assert plane.was_adopted
    assert maps.flows() == {feed.flow: feed.route}
    assert maps.links() == {relay.eth0: LINK}
    assert plane.attach(relay.eth0) is False
    assert maps.writes == 0
    for table, row in ((LINKS, LINK), (RULES, RULE), (OUTPUTS, OUTPUT)):
        assert packets(plane, table, row) == 200
    send(sender, payloads[:1])
    left.receive(1)
    assert packets(plane, RULES, RULE) == 201


def test_a_new_version_takes_over_without_a_packet_lost_or_sent_twice(feed, sender, left, monkeypatch):
    plane = feed.start()
    sent, is_over = [], threading.Event()

    def send_on():
        while not is_over.wait(0.0005):  # so that loading has the other CPU
            sent.append(NUMBER.pack(len(sent)))
            send(sender, sent[-1:])

    sending = threading.Thread(target=send_on)
    sending.start()
    for version in ("second", "third"):
        plane.close()
        monkeypatch.setattr(layout, "LAYOUT_VERSION", version)
        plane = feed.start()
        assert not plane.was_adopted
        plane.remove_earlier_versions()
    is_over.set()
    sending.join()
    assert sorted(left.receive_payloads(len(sent))) == sent


def test_an_installation_without_the_program_says_so(feed, relay, monkeypatch, tmp_path):
    monkeypatch.setattr(loader, "OBJECT", tmp_path / "relay.o")
    with pytest.raises(KernelPlaneUnavailable, match="has no compiled program"):
        feed.open()
    assert not relay.parent.exists()
