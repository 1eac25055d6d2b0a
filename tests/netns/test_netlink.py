"""The links of a host are read from netlink, and the monitor reports that they have changed."""

import select

import pytest

from mcrelay.lab.command import TIMEOUT_S
from mcrelay.linux.netlink import LinkMonitor, read_links
from mcrelay.model.links import AddressScope, Link, LinkAddress


@pytest.fixture
def host(lab):
    """A host, entered, with one device that has addresses of several scopes."""
    host, far = lab.host("host"), lab.host("far")
    lab.link(host.end("eth0", "10.1.0.1/24", "10.1.0.2/24", "10.7.0.1/32"), far.end("eth0"), mtu=9000)
    host.ip("address add 169.254.1.1/16 dev eth0 scope link")
    with host.enter_namespace():
        yield host


@pytest.fixture
def monitor(host):
    return LinkMonitor()


def is_readable(monitor, milliseconds=TIMEOUT_S * 1000):
    poll = select.poll()
    poll.register(monitor, select.POLLIN)
    return bool(poll.poll(milliseconds))


def addresses_of(device):
    return [entry.address for entry in read_links().get(device).addresses]


def test_a_link_has_its_mtu_its_state_and_its_addresses_of_all_scopes(host):
    links = read_links()
    assert links.get("eth0") == Link(
        100,
        "eth0",
        9000,
        True,
        (
            LinkAddress("169.254.1.1", 16, AddressScope.LINK),
            LinkAddress("10.1.0.1"),
            LinkAddress("10.7.0.1", 32),
            LinkAddress("10.1.0.2", is_secondary=True),
        ),
    )
    assert links.get("lo") == Link(
        1, "lo", 65536, True, (LinkAddress("127.0.0.1", 8, AddressScope.HOST),), has_neighbours=False
    )
    assert links.get("eth9") is None


def test_links_are_read_as_they_are_now(host):
    host.ip("address delete 10.1.0.1/24 dev eth0", "address add 10.8.0.1/24 dev eth0")
    host.ip("link set eth0 mtu 1400", "link set eth0 down")
    link = read_links().get("eth0")
    assert (link.mtu, link.up) == (1400, False)
    assert "10.1.0.1" not in addresses_of("eth0")
    assert "10.8.0.1" in addresses_of("eth0")
    host.ip("link set eth0 name eth5")
    assert read_links().get("eth0") is None
    assert read_links().get("eth5").ifindex == 100


def test_the_address_of_a_point_to_point_link_is_its_own_and_not_the_one_of_its_peer(host):
    host.ip("address add 10.9.0.1 peer 10.9.0.2/32 dev eth0")
    assert "10.9.0.1" in addresses_of("eth0")
    assert "10.9.0.2" not in addresses_of("eth0")


def test_a_host_without_devices_has_only_its_loopback(lab):
    with lab.host("bare").enter_namespace():
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
def test_the_monitor_is_readable_after_a_change_until_it_is_drained(host, monitor, change):
    assert not is_readable(monitor, 0)
    host.ip(change)
    assert is_readable(monitor)
    monitor.drain()
    assert not is_readable(monitor, 0)
    host.ip("address add 10.6.0.1/24 dev lo")
    assert is_readable(monitor)


def test_routes_and_neighbours_do_not_wake_the_monitor(host, monitor):
    host.ip("route add 10.77.0.0/16 dev eth0", "neighbour add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0")
    assert not is_readable(monitor, 0)


def test_more_changes_than_the_monitor_can_hold_count_as_one(host, monitor):
    host.ip(*[f"link set lo mtu {mtu}" for mtu in range(10_000, 10_500)])
    assert is_readable(monitor)
    monitor.drain()
    assert not is_readable(monitor, 0)
    host.ip("link set eth0 down")
    assert is_readable(monitor)
