"""Answers of rtnetlink that the kernel of this machine gives rarely."""

import errno
import socket
import struct

import pytest

from mcrelay.linux import rtnetlink
from mcrelay.linux.constants import (
    ARPHRD_ETHER,
    IFF_LOWER_UP,
    IFF_UP,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_OPERSTATE,
    NLA_F_NESTED,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_GETLINK,
)
from mcrelay.linux.netlink import LinkTableError, read_links
from mcrelay.linux.rtnetlink import NetlinkConnection, attribute, attributes, each_attribute
from mcrelay.model.links import Link, LinkState, LinkTable

NEW_LINK = 16  # RTM_NEWLINK
NOT_PRESENT, DOWN, UP = 1, 2, 6  # operational states: linux/if.h


def message(kind, body=b"", flags=0):
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def done(error=0, flags=0):
    return message(NLMSG_DONE, struct.pack("=i", error), flags)


@pytest.fixture
def answer(monkeypatch):
    """Let the kernel answer the next request with these datagrams."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    monkeypatch.setattr(rtnetlink, "_open_socket", lambda: ours)

    def answer(*datagrams):
        for datagram in datagrams:
            kernel.send(datagram)

    with ours, kernel:
        yield answer


def test_a_dump_has_the_messages_of_all_datagrams(answer):
    answer(message(NEW_LINK, b"1234") + message(NEW_LINK, b"5678"), message(NEW_LINK, b"9999"), done())
    found = NetlinkConnection().dump(RTM_GETLINK, b"")
    assert [(entry.type, entry.body) for entry in found] == [
        (NEW_LINK, b"1234"),
        (NEW_LINK, b"5678"),
        (NEW_LINK, b"9999"),
    ]


@pytest.mark.parametrize(
    "datagrams",
    [
        [message(NEW_LINK, b"1234", NLM_F_DUMP_INTR), done()],
        [message(NEW_LINK, b"1234"), done(flags=NLM_F_DUMP_INTR)],
    ],
)
def test_a_dump_that_changes_interrupt_is_an_error(answer, datagrams):
    answer(*datagrams)
    with pytest.raises(InterruptedError):
        NetlinkConnection().dump(RTM_GETLINK, b"")


@pytest.mark.parametrize(
    "datagram",
    [
        done(-errno.ENOBUFS),
        message(NLMSG_ERROR, struct.pack("=i", -errno.ENOBUFS) + message(RTM_GETLINK)),
    ],
)
def test_a_dump_that_fails_at_its_beginning_or_its_end_is_an_error(answer, datagram):
    answer(message(NEW_LINK, b"1234"), datagram)
    with pytest.raises(OSError, match="No buffer space") as caught:
        NetlinkConnection().dump(RTM_GETLINK, b"")
    assert caught.value.errno == errno.ENOBUFS


@pytest.mark.parametrize("datagrams", [[done(flags=NLM_F_DUMP_INTR)], [done(-errno.ENOMEM)], []])
def test_links_are_not_read_in_part(answer, datagrams):
    answer(*datagrams)
    with pytest.raises(LinkTableError):
        read_links()


def new_link(ifindex, name, *more, flags=IFF_UP | IFF_LOWER_UP, state=UP):
    fixed = struct.pack("=BxHiII", 0, ARPHRD_ETHER, ifindex, flags, 0)
    texts = attribute(IFLA_IFNAME, name.encode() + b"\0")
    numbers = attribute(IFLA_MTU, struct.pack("=I", 1500)) + attribute(IFLA_OPERSTATE, bytes([state]))
    return message(NEW_LINK, fixed + texts + numbers + b"".join(more))


def test_a_device_whose_master_is_a_vrf_is_in_it(answer):
    master = attribute(IFLA_MASTER, struct.pack("=I", 7))
    vrf = attribute(IFLA_LINKINFO | NLA_F_NESTED, attribute(IFLA_INFO_KIND, b"vrf\0"))
    links = new_link(3, "eth0", master) + new_link(4, "eth1") + new_link(7, "red", vrf)
    answer(done(), links, done())
    assert read_links() == LinkTable.of(
        [Link(3, "eth0", is_in_vrf=True), Link(4, "eth1"), Link(7, "red")],
    )


def test_hardware_may_be_absent(answer):
    answer(
        done(),
        new_link(3, "eth0", flags=0, state=NOT_PRESENT) + new_link(4, "eth1", flags=0, state=DOWN),
        done(),
    )
    links = read_links()
    assert (links.get("eth0").state, links.get("eth1").state) == (LinkState.NOT_PRESENT, LinkState.DOWN)


def test_attributes_of_one_type_may_be_repeated():
    body = attribute(53, b"one\0") + attribute(1, b"abcde") + attribute(53, b"another\0")
    assert list(each_attribute(body, 0)) == [(53, b"one\0"), (1, b"abcde"), (53, b"another\0")]
    assert attributes(bytes(8) + body, 8) == {53: b"another\0", 1: b"abcde"}
