"""The lookup with arrays finds what a lookup in a dictionary finds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.addresses import address_to_number
from mcrelay.model.state import Egress, Flow, Route, RouteOutput
from mcrelay.packet.fib import FROM_PACKET, NO_ROUTE, Fib, RouteEntry, RouteTable
from mcrelay.packet.keys import endpoint_key, outgoing_key

DESTINATIONS = ["239.1.1.1", "239.1.1.2", "10.0.0.9", "224.0.0.1", "239.255.255.255"]
SOURCES = ["10.0.0.1", "10.0.0.2", "192.168.168.55", "255.255.255.254", "0.0.0.1"]
PORTS = [1, 5001, 5002, 65_535]

destinations = st.sampled_from(DESTINATIONS)
sources = st.sampled_from(SOURCES)
ports = st.sampled_from(PORTS)
packet_lists = st.lists(st.tuples(destinations, ports, sources), max_size=20)
# For each destination and port either one route for every source, or a route for each of some sources.
tables = st.dictionaries(
    st.tuples(destinations, ports),
    st.integers(0, 9).map(lambda route: {None: route})
    | st.dictionaries(sources, st.integers(0, 9), min_size=1, max_size=3),
    max_size=6,
)


def fib(table):
    return Fib(
        {
            Flow(1, destination, port, source): route
            for (destination, port), by_source in table.items()
            for source, route in by_source.items()
        }
    )


def column(values, dtype):
    return np.array(list(values), dtype)


def look_up(lookup, packets):
    """Return [(route, is forbidden)]."""
    route, forbidden = lookup.lookup(
        column((endpoint_key(destination, port) for destination, port, _ in packets), np.uint64),
        column((endpoint_key(source, 4000) for _, _, source in packets), np.uint64),
    )
    is_forbidden = [False] * len(packets) if forbidden is None else forbidden.tolist()
    return list(zip(route.tolist(), is_forbidden, strict=True))


def look_up_in_dictionary(table, destination, port, source):
    """Return the route and whether the source is forbidden, from a dictionary of dictionaries."""
    by_source = table.get((destination, port))
    if by_source is None:
        return NO_ROUTE, False
    if None in by_source:
        return by_source[None], False
    if source in by_source:
        return by_source[source], False
    return next(iter(by_source.values())), True


@given(tables, packet_lists)
def test_routes_are_those_of_a_dictionary(table, packets):
    assert look_up(fib(table), packets) == [look_up_in_dictionary(table, *packet) for packet in packets]


@given(tables, st.lists(destinations, max_size=12))
def test_a_packet_without_a_port_gets_the_route_of_the_lowest_port_of_its_address(table, addresses):
    found = fib(table).route_of_address(column(map(address_to_number, addresses), np.uint32))
    for destination, route in zip(addresses, found.tolist(), strict=True):
        candidates = [next(iter(by.values())) for (to, _), by in sorted(table.items()) if to == destination]
        assert route == (candidates[0] if candidates else NO_ROUTE)


@given(tables, st.lists(st.tuples(destinations, ports)), packet_lists)
def test_packets_that_this_host_sends_get_the_routes_of_looped_flows_alone(table, looped, packets):
    flows = {
        Flow(1, destination, port, source): route
        for (destination, port), by_source in table.items()
        for source, route in by_source.items()
    }
    lookup = Fib(flows, {flow for flow in flows if (flow.destination, flow.port) in looped})
    assert look_up(lookup, packets) == [look_up_in_dictionary(table, *packet) for packet in packets]
    few = {key: by_source for key, by_source in table.items() if key in looped}
    route, forbidden = lookup.lookup(
        column((outgoing_key(destination, port) for destination, port, _ in packets), np.uint64),
        column((endpoint_key(source, 4000) for _, _, source in packets), np.uint64),
    )
    expected = [look_up_in_dictionary(few, *packet) for packet in packets]
    assert route.tolist() == [route for route, _ in expected]
    assert forbidden is None or forbidden.tolist() == [is_forbidden for _, is_forbidden in expected]


LEFT = RouteOutput("left", Egress(3, "10.2.0.1"), "239.2.2.2", 6001, 64, "copy")
NEXT = Flow(3, "239.2.2.2", 6001)


@pytest.mark.parametrize(
    ("output", "flow", "loopback", "row"),
    [
        (LEFT, NEXT, False, 7),
        (LEFT, replace(NEXT, source="10.2.0.1"), False, 7),
        (LEFT, replace(NEXT, source="10.2.0.9"), False, NO_ROUTE),
        (LEFT, replace(NEXT, port=6002), False, NO_ROUTE),
        (LEFT, replace(NEXT, ifindex=4), False, NO_ROUTE),
        (LEFT, NEXT, True, NO_ROUTE),  # the ring of the input counts it
        (replace(LEFT, egress=Egress(1, "127.0.0.1")), replace(NEXT, ifindex=1), False, NO_ROUTE),
    ],
)
def test_an_output_has_the_row_of_the_rule_that_does_not_take_what_it_sends(output, flow, loopback, row):
    taker = RouteEntry(Route("next", (), loopback), (7,))
    routes = RouteTable([RouteEntry(Route("feed", (output,)), (0, 1))], [output.egress], {flow: taker})
    assert routes.taker_row.tolist() == [row]
    assert routes.has_takers == (row != NO_ROUTE)


def test_a_link_without_flows_has_no_routes():
    lookup = Fib({})
    assert look_up(lookup, [("239.1.1.1", 5001, "10.0.0.1")] * 2) == [(NO_ROUTE, False)] * 2
    assert lookup.route_of_address(column([address_to_number("239.1.1.1")], np.uint32)).tolist() == [NO_ROUTE]


def test_each_of_ten_thousand_flows_has_its_own_route():
    table = {(f"239.{n >> 8}.{n & 255}.7", 5001 + n % 3): {None: n} for n in range(10_000)}
    packets = [(destination, port, "10.0.0.1") for destination, port in table]
    assert [route for route, _ in look_up(fib(table), packets)] == list(range(10_000))


@given(tables)
def test_any_source_routes_are_those_of_the_destinations_without_sources(table):
    assert fib(table).any_source_routes() == {
        endpoint_key(*endpoint): by_source[None] for endpoint, by_source in table.items() if None in by_source
    }


EGRESS = [Egress(2, "10.9.2.1"), Egress(3, "10.9.3.1"), Egress(2, "10.9.2.1", 4000)]
outputs = st.builds(
    RouteOutput,
    interface=st.just("plant"),
    egress=st.sampled_from(EGRESS),
    destination=destinations,
    port=ports,
    ttl=st.sampled_from([1, 255, "decrement"]),
    dscp=st.sampled_from([0, 63, "copy"]),
)


@st.composite
def entries(draw):
    """Return route entries in which every row of a counter is unique."""
    sent = draw(st.lists(st.lists(outputs, min_size=1, max_size=4).map(tuple), min_size=1, max_size=5))
    row = iter(range(1000))
    return [
        RouteEntry(Route("camera", some), tuple(next(row) for _ in range(len(some) + 1))) for some in sent
    ]


def datagram(routes, output):
    """Return the fields of one output from the columns."""
    return (
        EGRESS[routes.egress[output]],
        routes.row[output],
        routes.destinations[output],
        routes.ttl[output],
        routes.tos[output],
    )


def expected_datagrams(entry):
    for output, row in zip(entry.route.outputs, entry.rows[1:], strict=True):
        ttl = FROM_PACKET if output.ttl == "decrement" else output.ttl
        tos = FROM_PACKET if output.dscp == "copy" else output.dscp * 4
        yield output.egress, row, (address_to_number(output.destination), output.port), ttl, tos


@given(entries(), st.data())
def test_each_packet_becomes_the_datagrams_of_its_route_in_order(entries, data):
    routes = RouteTable(entries, EGRESS)
    of_packet = data.draw(st.lists(st.integers(0, len(entries) - 1), max_size=12))
    packet, output = routes.expand(column(of_packet, np.int64))
    packet = np.arange(len(of_packet)) if packet is None else packet
    found = [(int(one), datagram(routes, at)) for one, at in zip(packet, output, strict=True)]
    assert found == [
        (index, sent) for index, route in enumerate(of_packet) for sent in expected_datagrams(entries[route])
    ]


@given(entries())
def test_outputs_are_sorted_by_socket(entries):
    routes = RouteTable(entries, EGRESS)
    assert routes.egress.tolist() == sorted(routes.egress.tolist())
    assert len(routes.egress) == sum(len(entry.route.outputs) for entry in entries)


@given(entries())
def test_the_table_knows_whether_any_output_copies_a_field_of_the_packet(entries):
    routes = RouteTable(entries, EGRESS)
    sent = [output for entry in entries for output in entry.route.outputs]
    assert routes.has_ttl_from_packet == any(output.ttl == "decrement" for output in sent)
    assert routes.has_tos_from_packet == any(output.dscp == "copy" for output in sent)
    assert routes.rule_row.tolist() == [entry.rows[0] for entry in entries]


def test_expand_returns_no_packet_column_where_each_packet_becomes_one_datagram():
    output = RouteOutput("plant", EGRESS[0], "239.2.2.2", 6001, 64, "copy")
    routes = RouteTable([RouteEntry(Route("camera", (output,)), (0, 0))], EGRESS)
    packet, outputs = routes.expand(np.zeros(3, np.int64))
    assert packet is None
    assert outputs.tolist() == [0, 0, 0]


def test_a_table_without_routes_has_empty_columns():
    routes = RouteTable([], [])
    assert len(routes.egress) == len(routes.rule_row) == 0
    assert not routes.has_ttl_from_packet
