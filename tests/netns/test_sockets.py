"""The sockets of the supervisor: memberships, ports, rings and egress sockets; none is left over."""

import errno
import gc
import os
import socket
from pathlib import Path

import pytest

from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.linux import socket_filters
from mcrelay.model.actions import Acquire, Close, Open, Release
from mcrelay.model.state import DesiredState, Egress, Ingress, Membership, PortReservation, WorkerState
from mcrelay.supervisor import privileged
from mcrelay.supervisor.privileged import RING_OCTETS
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from mcrelay.worker.ring import Ring
from tests.netns.support.frames import Frame

NOWHERE = 9999  # no link has this index


@pytest.fixture
def relay(studio):
    """The relay host, entered: what the test opens is there."""
    with studio.relay.enter_namespace():
        yield studio.relay


@pytest.fixture
def link(relay):
    return socket.if_nametoindex("eth0")


@pytest.fixture
def sockets(relay):
    return Sockets()


def descriptors():
    """How many descriptors this process has open, what earlier tests have left behind aside."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def joins(link, count, source=None):
    return [Acquire(Membership(link, f"239.1.{n // 250}.{n % 250 + 1}", source)) for n in range(count)]


def leaves(joined):
    return [Release(action.resource) for action in joined]


def members():
    """The groups that a host has joined, as its kernel lists them."""
    table = Path("/proc/thread-self/net/igmp").read_text()
    words = [line.split()[0] for line in table.splitlines()[1:] if line.startswith("\t")]
    return {socket.inet_ntoa(bytes.fromhex(word)[::-1]) for word in words} - {"224.0.0.1"}


def filtered():
    """The (group, source, memberships that want it) that the kernel keeps."""
    lines = Path("/proc/thread-self/net/mcfilter").read_text().splitlines()[1:]
    address = "{:0>8}".format
    return {
        (
            *(socket.inet_ntoa(bytes.fromhex(address(word[2:]))) for word in line.split()[2:4]),
            int(line.split()[4]),
        )
        for line in lines
    }


# Memberships.


def test_two_hundred_groups_are_joined_and_left_and_no_socket_remains(sockets, link):
    before = descriptors()
    actions = joins(link, 200)
    assert sockets.perform(actions) == {}
    assert members() == {action.resource.group for action in actions}
    assert descriptors() - before == 10  # igmp_max_memberships is 20 for each socket
    assert sockets.perform(leaves(actions)) == {}
    assert members() == set()
    assert descriptors() == before


def test_the_room_of_a_group_that_was_left_is_used_again(sockets, link):
    before = descriptors()
    actions = joins(link, 60)
    sockets.perform(actions[:40])
    sockets.perform(leaves(actions[10:30]))
    assert sockets.perform(actions[40:]) == {}
    assert descriptors() - before == 2
    assert members() == {action.resource.group for action in actions[:10] + actions[30:]}


def test_each_source_of_a_group_is_joined_and_left_separately(sockets, link):
    one, other = (Membership(link, "232.1.1.1", source) for source in ("10.0.0.5", "10.0.0.6"))
    sockets.perform([Acquire(one), Acquire(other)])
    assert filtered() == {("232.1.1.1", "10.0.0.5", 1), ("232.1.1.1", "10.0.0.6", 1)}
    sockets.perform([Release(one)])
    assert filtered() == {("232.1.1.1", "10.0.0.6", 1)}
    sockets.perform([Release(other)])
    assert members() == set()


def test_a_group_can_be_joined_for_any_source_and_for_one_at_the_same_time(sockets, link):
    everyone, one = Membership(link, "239.1.1.1"), Membership(link, "239.1.1.1", "10.0.0.5")
    assert sockets.perform([Acquire(one), Acquire(everyone)]) == {}
    sockets.perform([Release(everyone)])
    assert filtered() == {("239.1.1.1", "10.0.0.5", 1)}
    assert sockets.perform([Acquire(everyone), Release(one)]) == {}
    assert (members(), filtered()) == ({"239.1.1.1"}, set())


def test_all_sources_of_a_group_are_joined_although_one_socket_has_no_room_for_them(sockets, link):
    before = descriptors()
    actions = [Acquire(Membership(link, "232.1.1.1", f"10.0.0.{n}")) for n in range(1, 36)]
    assert sockets.perform(actions) == {}
    assert {source for _, source, _ in filtered()} == {f"10.0.0.{n}" for n in range(1, 36)}
    assert sockets.perform(leaves(actions)) == {}
    assert members() == set()
    assert descriptors() == before


def test_a_failed_join_has_a_reason_and_the_others_succeed(sockets, link):
    before = descriptors()
    lost = [Acquire(Membership(NOWHERE, "239.1.1.1")), Acquire(Membership(NOWHERE, "232.1.1.1", "10.0.0.5"))]
    failed = sockets.perform([lost[0], *joins(link, 3), lost[1]])
    assert failed == {
        0: f"cannot join 239.1.1.1 on device {NOWHERE}: no such device",
        4: f"cannot join 232.1.1.1 of 10.0.0.5 on device {NOWHERE}: no such device",
    }
    assert len(members()) == 3
    assert descriptors() - before == 1


def test_a_host_that_allows_no_membership_gets_the_name_of_the_setting(sockets, link, relay):
    relay.sysctl("net.ipv4.igmp_max_memberships", 0)
    before = descriptors()
    [reason] = sockets.perform(joins(link, 1)).values()
    assert "igmp_max_memberships" in reason
    assert descriptors() == before


def test_leaving_a_group_on_a_link_that_is_gone_is_no_error(sockets, link, relay):
    before = descriptors()
    actions = [*joins(link, 30), *joins(link, 30, "10.0.0.5")]
    sockets.perform(actions)
    relay.ip("link delete eth0")
    assert members() == set()
    assert sockets.perform(leaves(actions)) == {}
    assert descriptors() == before


def test_a_group_that_cannot_be_left_has_a_reason(sockets, link, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    sockets.perform(joins(link, 1))
    monkeypatch.setattr(privileged, "leave", refuse)
    assert sockets.perform(leaves(joins(link, 1))) == {0: "operation not permitted"}


# Held ports.


def probe(studio, port):
    """A socket of the sender that has asked the relay something at that port."""
    with studio.sender.enter_namespace():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(TIMEOUT_S)
    asking.connect(("192.168.168.1", port))
    asking.send(b"is anybody there?")
    return asking


def is_refused(asking):
    """Whether an ICMP error came; wait for it where the socket has a timeout."""
    try:
        asking.recv(100)
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        return False
    raise AssertionError("no answer was expected")


def test_a_host_answers_no_icmp_error_for_a_reserved_port(sockets, studio, relay):
    relay.ip("address add 192.168.168.1/24 dev eth0")
    hold = PortReservation("192.168.168.1", 7001)
    assert is_refused(probe(studio, 7001))
    assert sockets.perform([Acquire(hold)]) == {}
    held, other = probe(studio, 7001), probe(studio, 7002)
    assert is_refused(other)
    held.setblocking(False)
    assert not is_refused(held)
    assert sockets.perform([Release(hold)]) == {}
    assert is_refused(probe(studio, 7001))


def test_a_port_of_another_process_needs_no_reservation(sockets, relay):
    hold = PortReservation("10.1.0.1", 7001)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("10.1.0.1", 7001))
        before = descriptors()
        assert sockets.perform([Acquire(hold)]) == {}
        assert sockets.perform([Release(hold)]) == {}
        assert descriptors() == before


# Rings and ways out.


def test_workers_share_an_egress_socket_and_have_a_ring_each(sockets, link):
    egress = Egress(socket.if_nametoindex("eth1"), "10.2.0.1")
    supplies = [
        sockets.supply([Open(worker, Ingress(link, 2048)), Open(worker, egress)]) for worker in (0, 1)
    ]
    (ring, way_out, way_back), (other_ring, same_way_out) = (supply.sockets for supply in supplies)
    assert way_out is same_way_out
    assert way_back.getsockname()[1] == way_out.getsockname()[1]
    assert ring is not other_ring
    assert all(supply.resumed == frozenset() for supply in supplies)


def test_an_open_ring_is_resumed_unless_the_frame_size_changes(sockets, link):
    sockets.supply([Open(0, Ingress(link, 2048))])
    egress = Egress(socket.if_nametoindex("eth1"), "10.2.0.1")
    again = sockets.supply([Open(0, egress), Open(0, Ingress(link, 2048))])
    assert again.resumed == {1}
    before = descriptors()
    assert sockets.supply([Open(0, Ingress(link, 4096))]).resumed == frozenset()
    assert descriptors() == before
    assert sockets.supply([Close(0, egress)]).sockets == ()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Open(0, Ingress(NOWHERE, 2048)), f"cannot read packets of device {NOWHERE}: "),
        (
            Open(0, Egress(1, "10.99.0.1")),
            "cannot send from 10.99.0.1 through device lo: cannot assign",
        ),
        (
            Open(0, Egress(1, "10.2.0.1", 7001)),
            "cannot send from 10.2.0.1 port 7001 through device lo: another program has",
        ),
    ],
)
def test_a_socket_that_cannot_be_opened_has_a_reason_by_index_and_leaves_no_descriptor(
    sockets, relay, action, reason
):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("10.2.0.1", 7001))
        before = descriptors()
        with pytest.raises(SupplyError) as failure:
            sockets.supply([Open(0, Egress(1, "127.0.0.1")), action])
        assert list(failure.value.reasons) == [1]
        assert failure.value.reasons[1].startswith(reason)
        assert str(failure.value) == failure.value.reasons[1]
        assert descriptors() == before + 2  # what came before it is kept for the next try


def test_sockets_that_no_state_uses_are_closed(sockets, link):
    before = descriptors()
    ring, egress = Ingress(link, 2048), [Egress(1, "127.0.0.1"), Egress(1, "127.0.0.2")]
    sockets.supply([Open(0, ring), Open(1, ring), *(Open(0, one) for one in egress)])
    sockets.release_all_except(DesiredState(WorkerState(frozenset({ring, *egress[:1]})), 1))
    assert descriptors() - before == 3
    assert sockets.supply([Open(0, ring)]).resumed == {0}
    sockets.release_all_except(DesiredState())
    assert descriptors() == before


def test_the_rings_that_a_worker_does_not_read_are_closed(sockets, link):
    before = descriptors()
    read, unread = Ingress(link, 2048), Ingress(socket.if_nametoindex("eth1"), 2048)
    sockets.supply([Open(0, read), Open(0, unread), Open(1, unread)])
    sockets.close_rings(0, except_for=frozenset({read}))
    assert descriptors() - before == 2
    assert sockets.supply([Open(0, read), Open(1, unread)]).resumed == {0, 1}
    assert sockets.supply([Open(0, unread)]).resumed == frozenset()


# Rings that share a link's packets.


class Readers:
    """Rings of one link, open for every group, as workers would have them."""

    def __init__(self, studio, sockets, link, frame_sizes=(2048, 2048), ready=2):
        self.rings = []
        with studio.sender.enter_namespace():
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._wire.bind(("eth0", 0))
        for worker, frame_size in enumerate(frame_sizes):
            [opened] = sockets.supply([Open(worker, Ingress(link, frame_size))]).sockets
            saved_head = memoryview(bytearray(8)).cast("Q")
            ring = Ring(opened.dup(), frame_size, RING_OCTETS, saved_head, resume=False)
            if worker < ready:
                ring.attach_filter(socket_filters.udp_to([]))
            self.rings.append(ring)

    def flows_seen(self, flows=40, packets=5):
        """Send packets of several flows; return for each ring how many of which flow it saw."""
        for _ in range(packets):
            for flow in range(flows):
                self._wire.send(bytes(Frame(source_port=4000 + flow)))
        wait_until(
            lambda: sum(ring.count_ready(1000) for ring in self.rings) >= flows * packets, "all packets"
        )
        return [self._counted(ring) for ring in self.rings]

    def _counted(self, ring):
        count = ring.count_ready(1000)
        ports = ring.words[ring.head : ring.head + count].view(">u2")[:, (96 + 20) // 2]
        seen = {int(port) - 4000: int((ports == port).sum()) for port in ports}
        ring.release(count)
        return seen


def assert_shared(one, other):
    """Each packet came exactly once, and all of a flow to the same ring."""
    assert one | other == dict.fromkeys(range(40), 5)
    assert not one.keys() & other.keys()
    assert one
    assert other


def test_two_rings_share_the_packets_flow_by_flow(sockets, studio, link):
    readers = Readers(studio, sockets, link)
    before = readers.flows_seen()
    assert_shared(*before)
    assert readers.flows_seen() == before


def test_a_single_ring_gets_all_packets(sockets, studio, link):
    assert Readers(studio, sockets, link, [2048]).flows_seen() == [dict.fromkeys(range(40), 5)]


def test_a_ring_of_another_size_gets_the_share_of_the_one_before(sockets, studio, link):
    Readers(studio, sockets, link)
    gc.collect()
    assert_shared(*Readers(studio, sockets, link, [4096, 4096]).flows_seen())


def test_new_rings_share_again_after_all_rings_were_closed(sockets, studio, link):
    Readers(studio, sockets, link)
    for worker in (0, 1):
        sockets.close_rings(worker, except_for=frozenset())
    gc.collect()
    assert_shared(*Readers(studio, sockets, link).flows_seen())


def test_a_last_ring_that_was_replaced_shares_with_the_next(sockets, studio, link):
    Readers(studio, sockets, link)
    small, large = Ingress(link, 2048), Ingress(link, 4096)
    sockets.release_all_except(DesiredState(WorkerState(frozenset({small})), 1))
    sockets.supply([Open(0, large)])
    gc.collect()
    assert_shared(*Readers(studio, sockets, link, [4096, 4096]).flows_seen())


def test_the_share_of_a_worker_that_is_not_ready_waits_in_its_ring(sockets, studio, link):
    assert_shared(*Readers(studio, sockets, link, ready=1).flows_seen())
