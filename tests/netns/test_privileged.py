"""Sockets that need a capability receive, send and reserve exactly what they are opened for."""

import errno
import gc
import os
import pwd
import socket
import struct

import pytest

from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.linux import socket_filters
from mcrelay.linux.constants import ETH_P_IP
from mcrelay.model.state import Egress, Ingress, Membership
from mcrelay.packet.frame import PACKET_OUTGOING, PACKET_TYPE
from mcrelay.supervisor import privileged
from mcrelay.supervisor.privileged import (
    RING_OCTETS,
    SEND_BUFFER_OCTETS,
    PrivilegeError,
    User,
    join,
    join_socket,
    leave,
    open_egress,
    open_return_socket,
    open_ring,
    share_packets,
    unprivileged_user,
)
from mcrelay.worker.ring import Ring
from tests.netns.support.frames import GROUP, PORT, Frame
from tests.netns.support.worker_harness import UdpListener

NOWHERE = 9999  # no link has this index
DONT_FRAGMENT = 0x4000


@pytest.fixture
def relay(studio):
    """The relay host, entered: what the test opens is there."""
    with studio.relay.enter_namespace():
        yield studio.relay


@pytest.fixture
def wire(studio, relay):
    """The sender's end of the cable to the relay."""
    with studio.sender.enter_namespace():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.bind(("eth0", 0))
    return raw


def index(device):
    return socket.if_nametoindex(device)


def descriptors():
    """How many descriptors this process has open, what earlier tests have left behind aside."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def mapped(opened, frame_size=2048):
    return Ring(opened, frame_size, RING_OCTETS, memoryview(bytearray(8)).cast("Q"), resume=False)


# Rings.


def test_a_ring_gets_no_packet_before_a_filter_is_attached(relay, wire):
    ring = mapped(open_ring(Ingress(index("eth0"), 2048)))
    wire.send(bytes(Frame(payload=b"too early")))
    ring.attach_filter(socket_filters.udp_to([]))
    wire.send(bytes(Frame(payload=b"in time")))
    wait_until(lambda: ring.count_ready(10), "the packet")
    assert ring.count_ready(10) == 1
    assert b"in time" in ring.octets[0].tobytes()


def test_a_ring_gets_the_packets_of_one_link_and_none_that_the_host_sends(relay, wire, studio):
    ring = mapped(open_ring(Ingress(index("eth0"), 2048)))
    ring.attach_filter(socket_filters.udp_to([]))
    with studio.left.enter_namespace():
        other = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        other.bind(("eth0", 0))
    other.send(bytes(Frame(payload=b"other link")))
    with open_egress(Egress(index("eth0"), "10.1.0.1")) as sending:
        sending.sendto(b"own", (GROUP, PORT))
    wire.send(bytes(Frame(payload=b"right")))
    wait_until(lambda: ring.count_ready(10), "the packet")
    assert ring.count_ready(10) == 1
    assert b"right" in ring.octets[0].tobytes()


@pytest.mark.parametrize("others", [0, socket_filters.MAX_OUTGOING])
@pytest.mark.parametrize(
    "program", [socket_filters.any_udp, lambda groups: socket_filters.udp_to([], groups)]
)
def test_a_ring_gets_what_this_host_sends_to_some_groups_and_what_arrives(relay, wire, others, program):
    group = int.from_bytes(socket.inet_aton(GROUP))
    groups = [group, *(group + 0x10000 + number for number in range(others))]
    ring = mapped(open_ring(Ingress(index("eth0"), 2048)))
    with open_egress(Egress(index("eth0"), "10.1.0.1")) as sending:
        for takes_outgoing in (True, False):
            ring.attach_filter(program(groups), takes_outgoing)
            for destination in ("10.1.0.2", GROUP):
                sending.sendto(b"outgoing", (destination, PORT))
        wire.send(bytes(Frame(payload=b"arriving")))
        wait_until(lambda: ring.count_ready(10) == 2, "both packets")
    payloads = [ring.octets[at].tobytes() for at in range(2)]
    assert [b"outgoing" in payload for payload in payloads] == [True, False]
    assert [payload[PACKET_TYPE] == PACKET_OUTGOING for payload in payloads] == [True, False]


@pytest.mark.parametrize("hosts", [["10.1.0.1"], [f"10.1.{n // 250}.{n % 250}" for n in range(3000)]])
def test_a_ring_gets_packets_to_unicast_addresses_even_if_they_are_too_many_for_a_filter(relay, wire, hosts):
    ring = mapped(open_ring(Ingress(index("eth0"), 2048)))
    ring.attach_filter(socket_filters.udp_to(int.from_bytes(socket.inet_aton(host)) for host in hosts))
    for destination in ("10.1.0.1", GROUP):
        wire.send(bytes(Frame(destination=destination, mac=b"\xff" * 6)))
        wire.send(bytes(Frame(destination=destination, mac=b"\xff" * 6, protocol=socket.IPPROTO_TCP)))
    wait_until(lambda: ring.count_ready(10) == 2, "both packets")


def test_a_ring_has_frames_of_the_requested_size(relay):
    for size in (2048, 16384, 65536):
        ring = mapped(open_ring(Ingress(index("eth0"), size)), size)
        assert len(ring) == RING_OCTETS // size


@pytest.mark.parametrize("ingress", [Ingress(NOWHERE, 2048), Ingress(1, 1000)])
def test_a_ring_that_cannot_be_opened_leaves_no_descriptor(relay, ingress):
    before = descriptors()
    with pytest.raises(OSError):  # noqa: PT011 - the kernel has several words for it
        open_ring(ingress)
    assert descriptors() == before


def test_rings_that_share_packets_are_in_one_fanout_group(relay):
    rings = [open_ring(Ingress(index("eth0"), 2048)) for _ in range(4)]
    first = share_packets(rings[0], None)
    assert share_packets(rings[1], first) == first
    second = share_packets(rings[2], None)
    assert second != first
    assert share_packets(rings[3], second) == second


# Sockets to send from.


def test_datagrams_have_df_unset_and_leave_through_their_link_whatever_the_routes_say(relay, studio):
    with studio.right.enter_namespace():
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        seen.settimeout(TIMEOUT_S)
    relay.ip("route add 239.0.0.0/8 dev eth1")
    with open_egress(Egress(index("eth2"), "10.3.0.1")) as sending:
        sending.sendto(b"through eth2", ("239.2.2.2", 6001))
    packet = seen.recv(2000)
    assert packet[28:] == b"through eth2"
    assert socket.inet_ntoa(packet[12:16]) == "10.3.0.1"
    assert not struct.unpack_from("!H", packet, 6)[0] & DONT_FRAGMENT


def test_a_datagram_over_the_mtu_is_fragmented(relay, studio):
    listener = UdpListener(studio.left)
    with open_egress(Egress(index("eth1"), "10.2.0.1")) as sending:
        sending.sendto(b"x" * 9000, ("239.2.2.2", 6001))
    assert listener.receive_payloads(1) == [b"x" * 9000]


def test_members_on_the_host_do_not_receive_what_it_sends(relay, studio):
    listener = UdpListener(studio.left)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member:
        member.bind(("239.2.2.2", 6001))
        joining = struct.pack("=4s4si", socket.inet_aton("239.2.2.2"), bytes(4), index("eth1"))
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joining)
        member.setblocking(False)
        with open_egress(Egress(index("eth1"), "10.2.0.1")) as sending:
            sending.sendto(b"away", ("239.2.2.2", 6001))
        assert listener.receive_payloads(1) == [b"away"]
        with pytest.raises(BlockingIOError):
            member.recv(100)


def test_a_source_port_is_the_requested_one_or_chosen_by_the_kernel(relay):
    with open_egress(Egress(index("eth1"), "10.2.0.1", 7001)) as chosen:
        assert chosen.getsockname() == ("10.2.0.1", 7001)
    with open_egress(Egress(index("eth1"), "10.2.0.1")) as any_port:
        assert any_port.getsockname()[1] != 0


def test_the_send_buffer_has_the_requested_size_whatever_the_limit_of_the_host(relay):
    with open_egress(Egress(index("eth1"), "10.2.0.1")) as sending:
        assert sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_OCTETS


def test_no_socket_sends_from_an_absent_address(relay):
    before = descriptors()
    with pytest.raises(OSError, match="Cannot assign requested address"):
        open_egress(Egress(index("eth1"), "10.99.0.1"))
    assert descriptors() == before


# Sockets that receive nothing.


def egress_of_the_port():
    return open_egress(Egress(index("lo"), "127.0.0.1", 7001))


def return_socket_of_the_port():
    return open_return_socket(7001)


@pytest.mark.parametrize("opened", [egress_of_the_port, return_socket_of_the_port])
def test_sockets_that_only_send_receive_nothing(relay, opened):
    with opened() as deaf, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.sendto(b"hello?", ("127.0.0.1", 7001))
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            deaf.recv(100)


def test_a_socket_for_memberships_has_no_port_and_receives_nothing(relay, wire):
    membership = Membership(index("eth0"), GROUP)
    with join_socket() as joined:
        join(joined, membership)
        assert GROUP in relay.groups("eth0")
        assert joined.getsockname() == ("0.0.0.0", 0)
        wire.send(bytes(Frame(source="10.1.0.2", port=0)))
        joined.setblocking(False)
        with pytest.raises(BlockingIOError):
            joined.recv(100)
        leave(joined, membership)
        assert GROUP not in relay.groups("eth0")


# Sockets for what comes back.


def test_a_host_answers_no_icmp_error_for_the_port_of_a_return_socket(relay):
    with open_return_socket(7001), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("10.1.0.1", 7001))
        asking.send(b"hello?")
        asking.send(b"no error came back")
        asking.connect(("10.1.0.1", 7002))
        asking.send(b"hello?")
        with pytest.raises(ConnectionRefusedError):
            asking.send(b"an error came back")


def test_a_port_of_another_program_has_no_return_socket(relay):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("10.1.0.1", 7001))
        before = descriptors()
        assert open_return_socket(7001) is None
        assert descriptors() == before
        with open_return_socket(7001, "10.2.0.1") as elsewhere:
            assert elsewhere.getsockname()[:2] == ("::ffff:10.2.0.1", 7001)


def test_a_return_socket_of_an_absent_address_cannot_be_opened(relay):
    before = descriptors()
    with pytest.raises(OSError, match="Cannot assign requested address"):
        open_return_socket(7001, "10.99.0.1")
    assert descriptors() == before


def test_without_ipv6_a_return_socket_is_one_of_ipv4(relay, monkeypatch):
    real = socket.socket

    def without_ipv6(family, *arguments):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "")
        return real(family, *arguments)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with open_return_socket(7001) as returning:
        assert returning.getsockname() == ("0.0.0.0", 7001)


# The process.


def users(*names):
    """A password file with these users, of whom the second has number 1."""

    def find(name):
        return pwd.struct_passwd((name, "x", names.index(name), names.index(name), "", "/", "/bin/false"))

    def look_up(name):
        if name not in names:
            raise KeyError(name)
        return find(name)

    return look_up


def test_the_user_of_the_workers_is_mcrelay_else_nobody(monkeypatch):
    monkeypatch.setattr(pwd, "getpwnam", users("root", "nobody", "mcrelay"))
    assert unprivileged_user() == User("mcrelay", 2, 2)
    monkeypatch.setattr(pwd, "getpwnam", users("root", "nobody"))
    assert unprivileged_user() == User("nobody", 1, 1)


def test_a_host_without_either_user_gets_both_names(monkeypatch):
    monkeypatch.setattr(pwd, "getpwnam", users("root"))
    with pytest.raises(PrivilegeError, match=r"`mcrelay` nor `nobody`"):
        unprivileged_user()


def test_a_supervisor_that_is_not_root_starts_workers_as_itself(monkeypatch):
    monkeypatch.setattr(privileged.os, "geteuid", lambda: 1000)
    assert unprivileged_user() is None
