"""The links of a host as netlink tells them, and the bell that rings when they change."""

import select

import pytest

from mcrelay.lab.command import TIMEOUT_S
from mcrelay.linux.netlink import LinkMonitor, read_links
from mcrelay.model.links import Link


@pytest.fixture
def host(lab):
    """A host, entered, with one device that has addresses of several scopes."""
    host, far = lab.host("host"), lab.host("far")
    lab.link(host.end("eth0", "10.1.0.1/24", "10.1.0.2/24", "10.7.0.1/32"), far.end("eth0"), mtu=9000)
    host.ip("address add 169.254.1.1/16 dev eth0 scope link")
    with host.entered():
        yield host


@pytest.fixture
def bell(host):
    return LinkMonitor()


def rings(bell, milliseconds=TIMEOUT_S * 1000):
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    return bool(poll.poll(milliseconds))


def test_a_link_is_told_with_its_mtu_its_state_and_its_global_addresses_the_primary_ones_first(host):
    links = read_links()
    assert links.get("eth0") == Link(100, "eth0", 9000, True, ("10.1.0.1", "10.7.0.1", "10.1.0.2"))
    assert links.get("lo") == Link(1, "lo", 65536, True, ())
    assert links.get("eth9") is None


def test_a_link_is_told_as_it_is_now(host):
    host.ip("address delete 10.1.0.1/24 dev eth0", "address add 10.8.0.1/24 dev eth0")
    host.ip("link set eth0 mtu 1400", "link set eth0 down")
    link = read_links().get("eth0")
    assert (link.mtu, link.up) == (1400, False)
    assert "10.1.0.1" not in link.addresses
    assert "10.8.0.1" in link.addresses
    host.ip("link set eth0 name eth5")
    assert read_links().get("eth0") is None
    assert read_links().get("eth5").ifindex == 100


def test_the_address_of_a_point_to_point_link_is_its_own_and_not_the_peers(host):
    host.ip("address add 10.9.0.1 peer 10.9.0.2/32 dev eth0")
    addresses = read_links().get("eth0").addresses
    assert "10.9.0.1" in addresses
    assert "10.9.0.2" not in addresses


def test_a_host_without_any_device_has_only_its_loopback(lab):
    with lab.host("bare").entered():
        assert list(read_links().links) == ["lo"]


@pytest.mark.parametrize(
    "change",
    [
        "address add 10.5.0.1/24 dev eth0",
        "address delete 10.7.0.1/32 dev eth0",
        "link set eth0 down",
        "link set eth0 mtu 1500",
        "link set eth0 name eth1",
        "link delete eth0",
        "link add eth1 type veth peer name eth2",
    ],
)
def test_the_bell_rings_for_a_change_and_is_silent_once_it_was_heard(host, bell, change):
    assert not rings(bell, 0)
    host.ip(change)
    assert rings(bell)
    bell.silence()
    assert not rings(bell, 0)
    host.ip("address add 10.6.0.1/24 dev lo")
    assert rings(bell)


def test_the_bell_is_silent_while_nothing_of_a_link_changes(host, bell):
    host.ip("route add 10.77.0.0/16 dev eth0", "neighbour add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0")
    assert not rings(bell, 0)


def test_more_news_than_the_bell_can_hold_are_heard_as_one(host, bell):
    host.ip(*[f"link set lo mtu {mtu}" for mtu in range(10_000, 10_500)])
    assert rings(bell)
    bell.silence()
    assert not rings(bell, 0)
    host.ip("link set eth0 down")
    assert rings(bell)
