"""Routes and neighbours are asked for, and their changes followed, by netlink messages of our own."""

import select

import pytest

from mcrelay.lab.command import wait_until
from mcrelay.linux.neighbours import NeighbourMonitor, look_up_neighbours, probe_neighbours
from mcrelay.linux.routes import RouteMonitor, look_up_routes
from mcrelay.linux.rtnetlink import Subscription
from mcrelay.model.routes import HostRoute, Neighbour, NeighbourState, NextHop, RouteKind, RouteQuery

THERE, NOBODY = NextHop(100, "10.1.0.2"), NextHop(100, "10.1.0.77")
KNOWN, FAILED, ABSENT = NeighbourState.KNOWN, NeighbourState.FAILED, NeighbourState.ABSENT


@pytest.fixture
def host(lab):
    """A host, entered, whose device eth0 has the index 100, and which gives a neighbour up quickly."""
    host, far = lab.host("host"), lab.host("far")
    lab.link(host.end("eth0", "10.1.0.1/24"), far.end("eth0", "10.1.0.2/24"))
    host.sysctl("net.ipv4.neigh.eth0.retrans_time_ms", 50)
    with host.enter_namespace():
        yield host


def state(hop):
    return look_up_neighbours([hop])[hop].state


def is_readable(monitor, seconds):
    return bool(select.select([monitor], [], [], seconds)[0])


def test_a_neighbour_is_known_or_failed_after_a_probe(host):
    assert look_up_neighbours([THERE, NOBODY]) == dict.fromkeys([THERE, NOBODY], Neighbour(ABSENT))
    assert probe_neighbours([THERE, NOBODY]) == []
    wait_until(lambda: state(THERE) is KNOWN, "the answer")
    assert state(NOBODY) is NeighbourState.RESOLVING or state(NOBODY) is FAILED
    wait_until(lambda: state(NOBODY) is FAILED, "the end of the questions")


def test_a_neighbour_that_cannot_be_asked_is_returned(host):
    gone = NextHop(99, "10.1.0.2")
    assert probe_neighbours([THERE, gone]) == [gone]
    assert state(gone) is ABSENT


def test_an_ipv6_neighbour_has_a_state_too(host):
    hop = NextHop(100, "fe80::2")
    assert state(hop) is ABSENT
    host.ip("neighbour add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0")
    assert state(NextHop(100, "10.1.0.9")) is KNOWN


@pytest.fixture
def monitor(host):
    monitor = NeighbourMonitor()
    monitor.switch(True)
    return monitor


def test_failures_of_next_hops_and_all_changes_of_unsettled_ones_are_reported(host, monitor):
    monitor.follow([NOBODY, THERE], [THERE])
    probe_neighbours([NOBODY, THERE])
    found = {}

    def has_both():
        found.update((hop, neighbour.state) for hop, neighbour in monitor.read() or [])
        return len(found) == 2

    wait_until(has_both, "the changes")
    assert found == {NOBODY: FAILED, THERE: KNOWN}
    host.ip("neighbour flush dev eth0")
    wait_until(lambda: is_readable(monitor, 0.1), "the removal")
    assert (THERE, Neighbour(ABSENT)) in monitor.read()


def test_other_neighbours_do_not_wake_the_supervisor(host, monitor):
    monitor.follow([NOBODY], [])
    host.ip("neighbour add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0")  # neither failed nor unsettled
    probe_neighbours([THERE, NextHop(100, "10.1.0.78")])
    wait_until(lambda: state(NextHop(100, "10.1.0.78")) is FAILED, "the failure of another neighbour")
    assert not is_readable(monitor, 0.2)


def test_with_too_many_next_hops_for_a_filter_everything_is_reported(host, monitor):
    monitor.follow([NextHop(100, f"10.1.{number >> 8}.{number & 255}") for number in range(2000)], [])
    host.ip("neighbour add 10.1.0.99 lladdr 02:00:00:00:00:99 dev eth0")
    assert is_readable(monitor, 5)


def test_a_monitor_that_is_off_hears_nothing_and_one_that_lost_messages_says_so(host, monitor):
    monitor.switch(False)
    host.ip("neighbour add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0")
    assert not is_readable(monitor, 0.2)
    monitor.follow([NextHop(100, "10.1.0.9")], [NextHop(100, "10.1.0.9")])
    monitor.switch(True)
    hardware = (f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(3000))
    host.ip(*(f"neighbour replace 10.1.0.9 lladdr {address} dev eth0" for address in hardware))
    assert monitor.read() is None
    assert monitor.read() == []


def test_a_change_of_a_route_or_of_a_rule_wakes_the_route_monitor(host):
    monitor = RouteMonitor()
    monitor.switch(True)
    for command in ("route add 10.7.0.0/24 via 10.1.0.2", "rule add to 10.9.0.0/24 prohibit"):
        host.ip(command)
        assert is_readable(monitor, 5)
        monitor.drain()
        assert not is_readable(monitor, 0)


def test_routes_are_those_of_the_kernel_with_source_port_and_gateway(host):
    host.sysctl("net.ipv6.conf.eth0.disable_ipv6", 0)
    host.ip(
        "address add 10.2.0.1/24 dev eth0",
        "route add 10.7.0.0/24 via 10.1.0.2 src 10.2.0.1",
        "route add 10.8.0.0/24 via inet6 fe80::1 dev eth0",
        "route add prohibit 10.9.0.0/24",
        "rule add sport 4000 blackhole",
    )
    expected = {
        RouteQuery("10.1.0.9", 5000): HostRoute(RouteKind.UNICAST, 100, None, "10.1.0.1"),
        RouteQuery("10.1.0.9", 5000, "10.2.0.1"): HostRoute(RouteKind.UNICAST, 100, None, "10.2.0.1"),
        RouteQuery("10.1.0.9", 5000, source_port=4000): HostRoute(RouteKind.BLACKHOLE),
        RouteQuery("10.7.0.9", 5000): HostRoute(RouteKind.UNICAST, 100, "10.1.0.2", "10.2.0.1"),
        RouteQuery("10.8.0.9", 5000): HostRoute(RouteKind.UNICAST, 100, "fe80::1", "10.1.0.1"),
        RouteQuery("10.9.0.9", 5000): HostRoute(RouteKind.PROHIBIT),
        RouteQuery("10.77.0.9", 5000): HostRoute(RouteKind.NONE),
        RouteQuery("10.77.0.9", 5000, ifindex=100): HostRoute(RouteKind.UNICAST, 100, None, "10.1.0.1"),
        RouteQuery("10.1.0.1", 5000): HostRoute(RouteKind.LOCAL, 1, None, "10.1.0.1"),
        RouteQuery("10.1.0.255", 5000): HostRoute(RouteKind.BROADCAST, 100, None, "10.1.0.1"),
    }
    assert look_up_routes(expected) == expected


def test_ten_thousand_routes_fit_into_the_smallest_receive_buffer(host):
    queries = [RouteQuery("10.1.0.9", port) for port in range(1, 10_001)]
    assert len(look_up_routes(queries)) == 10_000


def test_an_unexpected_error_is_an_os_error(host):
    with pytest.raises(OSError, match=r"."):
        Subscription(9999).switch(True)
