"""The arrays find what a dictionary finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.addresses import address_to_number
from mcrelay.model.state import Egress, Flow, Output, Route
from mcrelay.packet.fib import FROM_PACKET, NO_ROUTE, Entry, Fib, Routes, find
from mcrelay.packet.headers import flow_key, origin_key

DESTINATIONS = ["239.1.1.1", "239.1.1.2", "10.0.0.9", "224.0.0.1", "239.255.255.255"]
SOURCES = ["10.0.0.1", "10.0.0.2", "192.168.168.55", "255.255.255.254", "0.0.0.1"]
PORTS = [1, 5001, 5002, 65_535]

destinations = st.sampled_from(DESTINATIONS)
sources = st.sampled_from(SOURCES)
ports = st.sampled_from(PORTS)
asked = st.lists(st.tuples(destinations, ports, sources), max_size=20)
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


def looked_up(lookup, packets):
    """Return [(route, is forbidden)]."""
    route, forbidden = lookup.lookup(
        column(
            (flow_key(address_to_number(destination), port) for destination, port, _ in packets), np.uint64
        ),
        column((origin_key(address_to_number(source), 4000) for _, _, source in packets), np.uint64),
    )
    is_forbidden = [False] * len(packets) if forbidden is None else forbidden.tolist()
    return list(zip(route.tolist(), is_forbidden, strict=True))


def plainly(table, destination, port, source):
    """Return the route and whether the source is forbidden, from a dictionary of dictionaries."""
    by_source = table.get((destination, port))
    if by_source is None:
        return NO_ROUTE, False
    if None in by_source:
        return by_source[None], False
    if source in by_source:
        return by_source[source], False
    return next(iter(by_source.values())), True


@given(tables, asked)
def test_packets_are_found_as_in_a_dictionary(table, packets):
    assert looked_up(fib(table), packets) == [plainly(table, *packet) for packet in packets]


@given(tables, st.lists(destinations, max_size=12))
def test_a_packet_that_hides_its_port_belongs_to_a_route_of_its_destination(table, asked_for):
    found = fib(table).route_of_destination(column(map(address_to_number, asked_for), np.uint32))
    for destination, route in zip(asked_for, found.tolist(), strict=True):
        candidates = [next(iter(by.values())) for (to, _), by in sorted(table.items()) if to == destination]
        assert route == (candidates[0] if candidates else NO_ROUTE)


@given(tables)
def test_the_destinations_are_listed_once_each_and_ascend(table):
    assert fib(table).destinations == sorted({address_to_number(destination) for destination, _ in table})


def test_a_link_without_flows_has_no_route_for_anything():
    """Such a ring is there while all that its flows need has failed."""
    lookup = Fib({})
    assert looked_up(lookup, [("239.1.1.1", 5001, "10.0.0.1")] * 2) == [(NO_ROUTE, False)] * 2
    assert lookup.route_of_destination(column([address_to_number("239.1.1.1")], np.uint32)).tolist() == [
        NO_ROUTE
    ]
    assert lookup.destinations == []


def test_ten_thousand_flows_are_told_apart():
    table = {(f"239.{n >> 8}.{n & 255}.7", 5001 + n % 3): {None: n} for n in range(10_000)}
    packets = [(destination, port, "10.0.0.1") for destination, port in table]
    assert [route for route, _ in looked_up(fib(table), packets)] == list(range(10_000))


@given(st.sets(st.integers(0, 2**48), min_size=1), st.lists(st.integers(0, 2**48)))
def test_a_key_is_found_exactly_when_it_is_there(keys, wanted):
    wanted += sorted(keys)
    place, found = find(column(sorted(keys), np.uint64), column(wanted, np.uint64))
    assert found.tolist() == [one in keys for one in wanted]
    assert all(
        sorted(keys)[at] == one for at, one, is_there in zip(place, wanted, found, strict=True) if is_there
    )


EGRESS = [Egress(2, "10.9.2.1"), Egress(3, "10.9.3.1"), Egress(2, "10.9.2.1", 4000)]
outputs = st.builds(
    Output,
    interface=st.just("plant"),
    egress=st.sampled_from(EGRESS),
    destination=destinations,
    port=ports,
    ttl=st.sampled_from([1, 255, "decrement"]),
    dscp=st.sampled_from([0, 63, "copy"]),
)


@st.composite
def entries(draw):
    """Return routes whose rows, of rules and of outputs, tell them apart."""
    sent = draw(st.lists(st.lists(outputs, min_size=1, max_size=4).map(tuple), min_size=1, max_size=5))
    row = iter(range(1000))
    return [Entry(Route("camera", some), tuple(next(row) for _ in range(len(some) + 1))) for some in sent]


def datagram(routes, output):
    """Return an output of the columns as one value."""
    return (
        EGRESS[routes.egress[output]],
        routes.row[output],
        routes.destinations[output],
        routes.ttl[output],
        routes.tos[output],
    )


def plain_datagrams(entry):
    for output, row in zip(entry.route.outputs, entry.rows[1:], strict=True):
        ttl = FROM_PACKET if output.ttl == "decrement" else output.ttl
        tos = FROM_PACKET if output.dscp == "copy" else output.dscp * 4
        yield output.egress, row, (address_to_number(output.destination), output.port), ttl, tos


@given(entries(), st.data())
def test_each_packet_becomes_the_datagrams_of_its_route_in_order(entries, data):
    routes = Routes(entries, EGRESS)
    of_packet = data.draw(st.lists(st.integers(0, len(entries) - 1), max_size=12))
    packet, output = routes.copies(column(of_packet, np.int64))
    packet = np.arange(len(of_packet)) if packet is None else packet
    found = [(int(one), datagram(routes, at)) for one, at in zip(packet, output, strict=True)]
    assert found == [
        (index, sent) for index, route in enumerate(of_packet) for sent in plain_datagrams(entries[route])
    ]


@given(entries())
def test_outputs_are_sorted_by_socket(entries):
    routes = Routes(entries, EGRESS)
    assert routes.egress.tolist() == sorted(routes.egress.tolist())
    assert len(routes.egress) == sum(len(entry.route.outputs) for entry in entries)


@given(entries())
def test_it_is_known_whether_any_output_needs_a_field_of_the_packet(entries):
    routes = Routes(entries, EGRESS)
    sent = [output for entry in entries for output in entry.route.outputs]
    assert routes.has_ttl_from_packet == any(output.ttl == "decrement" for output in sent)
    assert routes.has_tos_from_packet == any(output.dscp == "copy" for output in sent)
    assert routes.rule_row.tolist() == [entry.rows[0] for entry in entries]


def test_packets_that_become_one_datagram_each_need_no_list_of_packets():
    output = Output("plant", EGRESS[0], "239.2.2.2", 6001, 64, "copy")
    routes = Routes([Entry(Route("camera", (output,)), (0, 0))], EGRESS)
    packet, outputs = routes.copies(np.zeros(3, np.int64))
    assert packet is None
    assert outputs.tolist() == [0, 0, 0]


def test_no_routes_are_columns_without_rows():
    routes = Routes([], [])
    assert len(routes.egress) == len(routes.rule_row) == 0
    assert not routes.has_ttl_from_packet
