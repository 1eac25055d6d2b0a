"""The path of an output: the source address and the socket, or the fault because of which nothing is sent."""

import pytest

from mcrelay.config.model import Config, Input, Interface, Output, Rule
from mcrelay.config.problems import SourceLocation
from mcrelay.model.links import AddressScope, Link, LinkAddress, LinkState, LinkTable
from mcrelay.model.routes import HostRoute, NextHop, RouteAnswers, RouteKind, RouteQuery
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import Egress
from mcrelay.reconcile.paths import Path, Unresolved, find_path, next_hops, route_queries

LO = Link(1, "lo", addresses=(LinkAddress("127.0.0.1", 8, AddressScope.HOST),), has_neighbours=False)
ETH1 = Link(3, "eth1", addresses=(LinkAddress("10.2.0.1"), LinkAddress("10.7.0.1")))
ETH9 = Link(9, "eth9", addresses=(LinkAddress("10.9.0.1"),))
LINKS = LinkTable({link.device: link for link in (LO, ETH1, ETH9)})
HOST = "10.9.2.50"
QUERY = RouteQuery(HOST, 6001)


def output(destination=HOST, source=None, source_port=0, interface="plant"):
    return Output(interface, destination, 6001, source, source_port, 64, 0)


def path(route, wanted=None, link=ETH1, links=LINKS, silent=()):
    """Return the path of an output when the kernel answers its question by `route`."""
    wanted = wanted or output()
    query = RouteQuery(wanted.destination, 6001, wanted.source, wanted.source_port)
    return find_path(wanted, link, links, RouteAnswers({query: route}, frozenset(silent)))


def unicast(ifindex=3, gateway=None, source="10.7.0.1"):
    return HostRoute(RouteKind.UNICAST, ifindex, gateway, source)


# The source.


def test_a_unicast_output_is_sent_from_the_preferred_source_of_its_route():
    assert path(unicast()) == Path(Egress(3, "10.7.0.1", routing="host"), hop=NextHop(3, HOST))
    assert path(unicast(source="10.9.0.1")).egress.source == "10.9.0.1"


def test_the_source_that_the_file_names_is_used_for_the_question_and_for_the_socket():
    wanted = output(source="10.2.0.1", source_port=4000)
    assert path(unicast(source="10.2.0.1"), wanted) == Path(
        Egress(3, "10.2.0.1", 4000, "host"), hop=NextHop(3, HOST)
    )


def test_a_group_is_sent_from_the_primary_address_and_bound_to_the_device():
    assert path(None, output("239.2.2.2")) == Path(Egress(3, "10.2.0.1"))
    assert path(None, output("239.2.2.2", "10.9.0.1")) == Path(Egress(3, "10.9.0.1"))


def test_without_an_answer_the_destination_is_assumed_to_be_a_neighbour():
    found = find_path(output(), ETH1, LINKS, RouteAnswers())
    assert found == Path(Egress(3, "10.2.0.1", routing="host"), hop=NextHop(3, HOST))


def test_the_next_hop_is_the_gateway_of_the_route():
    assert path(unicast(gateway="10.2.0.254")).hop == NextHop(3, "10.2.0.254")


@pytest.mark.parametrize("destination", [HOST, "239.2.2.2"])
def test_a_source_that_the_host_lacks_and_a_device_without_address_are_told(destination):
    with pytest.raises(Unresolved, match=r"^source 10.99.0.1 is not an address of this host$"):
        path(unicast(), output(destination, "10.99.0.1"))
    bare = Link(3, "eth1")
    with pytest.raises(Unresolved, match=r"^device eth1 has no IPv4 address to send from$"):
        path(unicast(source=None), output(destination), bare)
    narrow = Link(3, "eth1", addresses=(LinkAddress("10.8.0.1", 32, AddressScope.HOST),))
    with pytest.raises(
        Unresolved, match=r"except for 10.8.0.1 of scope host: write `source: 10.8.0.1` to use it$"
    ):
        path(unicast(source=None), output(destination), narrow)


def test_an_address_of_host_scope_is_used_if_the_file_names_it():
    narrow = Link(3, "eth1", addresses=(LinkAddress("10.8.0.1", 32, AddressScope.HOST),))
    links = LinkTable({"eth1": narrow})
    assert path(None, output("239.2.2.2", "10.8.0.1"), narrow, links).egress.source == "10.8.0.1"


def test_a_device_in_a_vrf_is_asked_for_its_own_routes_and_bound():
    link = Link(3, "eth1", addresses=ETH1.addresses, is_in_vrf=True)
    answers = RouteAnswers({RouteQuery(HOST, 6001, ifindex=3): unicast()})
    assert find_path(output(), link, LINKS, answers).egress == Egress(3, "10.7.0.1", routing="device")


# The faults.


@pytest.mark.parametrize(
    ("route", "fault", "reason"),
    [
        (
            HostRoute(RouteKind.NONE),
            PathFault.NO_ROUTE,
            "there is no route to 10.9.2.50: add one, for example `ip route add 10.9.2.50 dev eth1`,"
            " and see `ip rule`",
        ),
        (
            unicast(ifindex=9),
            PathFault.OTHER_DEVICE,
            "the route to 10.9.2.50 leads through eth9, not through eth1: correct `interface` or the route:"
            " see `ip route get 10.9.2.50`",
        ),
        (
            HostRoute(RouteKind.LOCAL, 1, None, HOST),
            PathFault.OTHER_DEVICE,
            "10.9.2.50 is an address of this host, behind lo: use an interface with `device: lo`",
        ),
        (
            HostRoute(RouteKind.PROHIBIT),
            PathFault.PROHIBITED,
            "a route or rule of type prohibit refuses packets to 10.9.2.50:"
            " see `ip rule` and `ip route show table all`",
        ),
        (
            HostRoute(RouteKind.UNREACHABLE),
            PathFault.UNREACHABLE,
            "a route or rule of type unreachable refuses packets to 10.9.2.50:"
            " see `ip rule` and `ip route show table all`",
        ),
        (
            HostRoute(RouteKind.BLACKHOLE),
            PathFault.BLACKHOLE,
            "a route or rule of type blackhole refuses packets to 10.9.2.50:"
            " see `ip rule` and `ip route show table all`",
        ),
    ],
)
def test_a_route_that_does_not_lead_through_the_device_is_a_fault(route, fault, reason):
    assert path(route) == Path(Egress(3, "10.2.0.1", routing="host"), fault, reason)


def test_a_route_that_is_missing_because_its_device_is_down_needs_no_other_route():
    down = Link(3, "eth1", state=LinkState.DOWN, addresses=ETH1.addresses)
    found = path(HostRoute(RouteKind.NONE), link=down)
    assert found.reason == "there is no route to 10.9.2.50 while eth1 is down"


def test_other_hosts_are_not_reached_through_lo_and_a_route_through_it_is_no_remedy():
    found = path(HostRoute(RouteKind.NONE), output(interface="self"), LO)
    assert found.reason == (
        "lo leads to addresses of this host alone: name the interface that leads to 10.9.2.50"
    )


def test_the_reason_names_the_source_that_the_file_names():
    found = path(HostRoute(RouteKind.NONE), output(source="10.7.0.1"))
    assert "no route to 10.9.2.50 from 10.7.0.1" in found.reason
    assert found.egress.source == "10.7.0.1"


def test_an_output_with_a_fault_on_a_device_without_address_has_a_socket_without_address():
    bare = Link(3, "eth1")
    found = path(HostRoute(RouteKind.NONE), output(source_port=4000), bare)
    assert (found.egress, found.fault) == (Egress(3, "0.0.0.0", routing="host"), PathFault.NO_ROUTE)


def test_the_host_itself_is_reached_through_lo():
    wanted = output("10.2.0.1", interface="self")
    assert path(HostRoute(RouteKind.LOCAL, 1, None, "10.2.0.1"), wanted, LO) == Path(
        Egress(1, "10.2.0.1", routing="host")
    )


def test_a_next_hop_that_is_silent_is_a_fault_and_the_reason_names_the_gateway():
    found = path(unicast(), silent=[NextHop(3, HOST)])
    assert found.fault is PathFault.NO_NEIGHBOR
    assert found.reason == "10.9.2.50 does not answer ARP on eth1: check the host and the cable"
    assert found.egress.source == "10.7.0.1"
    found = path(unicast(gateway="10.2.0.254"), silent=[NextHop(3, "10.2.0.254")])
    assert found.reason == (
        "the gateway 10.2.0.254 to 10.9.2.50 does not answer ARP on eth1:"
        " check the gateway, the cable, and the route"
    )
    found = path(unicast(gateway="fe80::1"), silent=[NextHop(3, "fe80::1")])
    assert "fe80::1 to 10.9.2.50 does not answer neighbour discovery" in found.reason
    assert path(unicast(), silent=[NextHop(9, HOST), NextHop(3, "10.2.0.254")]).fault is None


# The questions.


def config(*outputs, enabled=True):
    where = SourceLocation("mcrelay.yaml", 1, 1)
    rule = Rule("feed", "", Input("plant", "239.1.1.1", 5001), outputs, enabled, "auto", where)
    devices = {"plant": "eth1", "far": "eth9", "gone": "eth7", "self": "lo"}
    interfaces = {name: Interface(name, device, None, 64, 0) for name, device in devices.items()}
    return Config("auto", 1, True, 10**9, interfaces, {"feed": rule})


def test_every_unicast_output_of_a_rule_that_is_enabled_is_asked_for_once():
    outputs = (
        output(),
        output("239.2.2.2"),
        output(interface="gone"),
        output("10.9.0.9", "10.9.0.1", 4000, "far"),
    )
    assert route_queries(config(*outputs), LINKS) == {QUERY, RouteQuery("10.9.0.9", 6001, "10.9.0.1", 4000)}
    assert route_queries(config(*outputs, enabled=False), LINKS) == set()


def test_the_next_hops_are_the_gateways_and_hosts_behind_the_right_devices():
    outputs = [output(f"10.9.2.{number}") for number in range(1, 6)]
    routes = [
        unicast(),
        unicast(gateway="10.2.0.254"),
        unicast(ifindex=9),
        HostRoute(RouteKind.PROHIBIT),
    ]
    answers = RouteAnswers(
        {RouteQuery(f"10.9.2.{number}", 6001): route for number, route in enumerate(routes, start=1)}
    )
    assert next_hops(config(*outputs), LINKS, answers) == {
        NextHop(3, "10.9.2.1"),
        NextHop(3, "10.2.0.254"),
    }
    arpless = LinkTable({"eth1": Link(3, "eth1", has_neighbours=False)})
    assert next_hops(config(*outputs), arpless, answers) == set()


def test_an_absent_device_is_named_by_its_number():
    assert LINKS.device_of(9) == "eth9"
    assert LINKS.device_of(77) == "77"
