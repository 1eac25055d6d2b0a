"""The links of a host are read from netlink, and the monitor reports that they have changed."""

import select
import subprocess

import pytest

from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.linux.netlink import LinkMonitor, read_links
from mcrelay.model.links import AddressScope, Link, LinkAddress, LinkState


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
    host.ip("link set eth0 address 02:00:5e:00:53:01")
    links = read_links()
    assert links.get("eth0") == Link(
        100,
        "eth0",
        9000,
        LinkState.UP,
        (
            LinkAddress("169.254.1.1", 16, AddressScope.LINK),
            LinkAddress("10.1.0.1"),
            LinkAddress("10.7.0.1", 32),
            LinkAddress("10.1.0.2", is_secondary=True),
        ),
        ethernet_address="02:00:5e:00:53:01",
    )
    assert links.get("lo") == Link(
        1, "lo", 65536, LinkState.UP, (LinkAddress("127.0.0.1", 8, AddressScope.HOST),), has_neighbours=False
    )
    assert links.get("eth9") is None


def test_links_are_read_as_they_are_now(host):
    host.ip("address delete 10.1.0.1/24 dev eth0", "address add 10.8.0.1/24 dev eth0")
    host.ip("link set eth0 mtu 1400", "link set eth0 down")
    link = read_links().get("eth0")
    assert (link.mtu, link.state) == (1400, LinkState.DOWN)
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
        "link property add dev eth0 altname enp3s0studio-of-the-third-floor",
    ],
)
def test_the_monitor_is_readable_after_a_change_until_it_is_read(host, monitor, change):
    assert not is_readable(monitor, 0)
    host.ip(change)
    assert is_readable(monitor)
    monitor.read()
    assert not is_readable(monitor, 0)
    host.ip("address add 10.6.0.1/24 dev lo")
    assert is_readable(monitor)


def test_the_monitor_names_the_devices_that_went_and_no_port_that_left_a_bridge(host, monitor):
    host.ip("link add br0 type bridge", "link set eth0 master br0", "link set eth0 nomaster")
    assert monitor.read() == set()
    host.ip("link delete eth0", "link add eth0 index 100 type veth peer name eth1")
    assert monitor.read() == {100}
    assert monitor.read() == set()


def test_routes_and_neighbours_do_not_wake_the_monitor(host, monitor):
    host.ip("route add 10.77.0.0/16 dev eth0", "neighbour add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0")
    assert not is_readable(monitor, 0)


def test_more_changes_than_the_monitor_can_hold_count_as_one(host, monitor):
    host.ip(*[f"link set lo mtu {mtu}" for mtu in range(10_000, 10_500)])
    assert is_readable(monitor)
    monitor.read()
    assert not is_readable(monitor, 0)
    host.ip("link set eth0 down")
    assert is_readable(monitor)


def state_of(device):
    return read_links().get(device).state


def test_a_veth_without_its_peer_has_no_carrier(lab):
    host, far = lab.host("host"), lab.host("far")
    lab.link(host.end("eth0"), far.end("eth0"))
    far.ip("link set eth0 down")
    with host.enter_namespace():
        wait_until(lambda: state_of("eth0") == "no carrier", "the loss of the carrier")
        far.ip("link set eth0 up")
        wait_until(lambda: state_of("eth0") == "up", "the carrier")


def test_a_macvlan_tells_of_the_device_below_it(host):
    host.ip("link add link eth0 name mv0 type macvlan mode bridge", "link set mv0 up")
    wait_until(lambda: state_of("mv0") == "up", "the macvlan")
    host.ip("link set eth0 down")
    wait_until(lambda: state_of("mv0") == "lower layer down", "the loss of the lower device")
    assert read_links().get("mv0").reason_not_up == (
        "device mv0 has no carrier (lower layer down): check its lower device eth0"
    )


def test_a_bridge_has_a_carrier_while_one_of_its_ports_has_one(host):
    host.ip("link add br0 type bridge", "link set br0 up")
    assert state_of("br0") == "no carrier"
    host.ip("link set eth0 master br0")
    wait_until(lambda: state_of("br0") == "up", "the port")
    host.ip("link set eth0 down")
    wait_until(lambda: state_of("br0") == "no carrier", "the loss of the port")


@pytest.mark.parametrize("state", ["dormant", "testing"])
def test_a_device_may_be_up_and_not_ready(host, state):
    host.ip(f"link set eth0 state {state}")
    wait_until(lambda: state_of("eth0") == state, "the state")
    host.ip("link set eth0 state up")
    wait_until(lambda: state_of("eth0") == "up", "the state up")


def test_a_device_is_found_by_its_alternative_names(host):
    long = "enp3s0-" + 120 * "x"
    host.ip("link property add dev eth0 altname studio", f"link property add dev eth0 altname {long}")
    links = read_links()
    assert links.get("studio") is links.get(long) is links.get("eth0")
    assert set(links.get("eth0").altnames) == {"studio", long}
    host.ip("link property del dev eth0 altname studio")
    assert read_links().get("studio") is None


def test_a_device_may_have_as_many_alternative_names_as_the_kernel_can_report(host):
    """They are one attribute, of 64 KiB at most."""
    names = [f"{number:0127d}" for number in range(480)]
    host.ip(*(f"link property add dev eth0 altname {name}" for name in names))
    assert read_links().get("eth0").altnames == tuple(names)


@pytest.mark.parametrize(
    ("name", "text"),
    [(b"\xc3\xa9th1", "\N{LATIN SMALL LETTER E WITH ACUTE}th1"), (b"\xe9th1\xff", r"\xe9th1\xff")],
)
def test_a_device_may_have_a_name_that_is_not_ascii(host, name, text):
    subprocess.run([b"ip", b"link", b"add", name, b"type", b"bridge"], check=True)
    subprocess.run([b"ip", b"link", b"property", b"add", b"dev", name, b"altname", b"a" + name], check=True)
    link = read_links().get(text)
    assert (link.device, link.altnames) == (text, (f"a{text}",))


def test_a_device_that_is_not_ethernet_has_no_ethernet_address_and_one_without_arp_no_neighbours(host):
    host.ip("tuntap add tun0 mode tun", "tuntap add tap0 mode tap", "link set tap0 address 02:00:5e:00:53:02")
    tun, tap = read_links().get("tun0"), read_links().get("tap0")
    assert (tun.ethernet_address, tun.has_neighbours) == (None, False)
    assert (tap.ethernet_address, tap.has_neighbours) == ("02:00:5e:00:53:02", True)
    assert read_links().get("lo").ethernet_address is None


def test_a_device_of_another_host_is_no_lower_device(lab):
    host, far = lab.host("host"), lab.host("far")
    host.ip("link add br0 type bridge", f"link add link br0 name mv0 netns {far.namespace} type macvlan")
    host.ip("link add link br0 name mv1 type macvlan")
    far.ip("link add br0 type bridge")  # it may have the number of the lower device
    with far.enter_namespace():
        assert read_links().get("mv0").lower_device is None
    with host.enter_namespace():
        assert read_links().get("mv1").lower_device == "br0"


def test_very_many_links_are_read_whole(host):
    names = [f"br{number}" for number in range(400)]
    host.ip(*(f"link add {name} type bridge" for name in names))
    assert set(read_links().links) == {"lo", "eth0", *names}
