"""The tables beside the flows have what the rules need, and are written only where they differ."""

import pytest

from mcrelay.kernel.layout import AddressKey
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.state import DesiredState, Flow, Route, WorkerState
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.kernel_tables import KernelTables, ensure_counters, wanted_tables
from tests.support.kernel_harness import FakeMaps

GROUP, HOST = "239.1.1.1", "10.1.0.1"
OWN = {("10.2.0.1", 40_000)}


def state(kernel=(), workers=()):
    """Return a state with flows, and the route of each, in both data planes."""
    return DesiredState(WorkerState(flows=dict(workers)), 1, kernel=WorkerState(flows=dict(kernel)))


@pytest.fixture
def rows():
    rows = CounterRows()
    rows.rule_row("other")
    return rows


@pytest.fixture
def maps():
    return FakeMaps()


FEED = Flow(7, GROUP, 5001), Route("feed", ())
SECOND = Flow(7, GROUP, 5002), Route("second", ())
UNICAST = Flow(8, HOST, 5003), Route("tunnel", ())


def test_a_kernel_flow_has_the_rule_that_counts_its_faults_and_what_comes_in_elsewhere(rows):
    tables = wanted_tables(state([FEED]), rows, OWN)
    assert tables.own == OWN
    assert tables.links == {7: rows.link_row(7)}
    feed = rows.rule_row("feed"), False
    assert tables.addresses == {AddressKey(0, GROUP, 5001): feed, AddressKey(7, GROUP, 0): feed}


def test_the_rule_with_the_lowest_port_counts_for_the_address(rows):
    first = wanted_tables(state([FEED, SECOND]), rows, OWN)
    second = wanted_tables(state([SECOND, FEED]), rows, OWN)
    assert first == second
    assert first.addresses[AddressKey(7, GROUP, 0)] == (rows.rule_row("feed"), False)


def test_packets_to_the_unicast_inputs_of_both_planes_are_counted_on_every_link(rows):
    for unicast in (state([UNICAST]), state([], [UNICAST])):
        assert wanted_tables(unicast, rows, ()).addresses[AddressKey(0, HOST, 0)] == (None, False)


def test_rings_get_what_this_host_sends_to_an_input_with_loopback(rows):
    looped = Flow(7, GROUP, 5005), Route("looped", (), loopback=True)
    plain = Flow(7, "239.1.1.9", 5006), Route("plain", ())
    alone = wanted_tables(state([], [looped, plain]), rows, ())
    assert alone.addresses == {AddressKey(7, GROUP, 0): (None, True)}
    both = wanted_tables(state([FEED], [looped]), rows, ())
    assert both.addresses[AddressKey(7, GROUP, 0)] == (rows.rule_row("feed"), True)


def test_what_is_wanted_is_written_and_the_same_again_writes_nothing(rows, maps):
    tables, wanted = KernelTables(), wanted_tables(state([FEED, UNICAST]), rows, OWN)
    tables.extend(maps, wanted)
    assert KernelTables.read(maps) == tables == wanted
    assert len(maps.writes) == len(OWN) + len(wanted.addresses) + len(wanted.links)
    maps.writes.clear()
    tables.extend(maps, wanted)
    tables.reduce(maps, wanted)
    assert maps.writes == []


def test_a_daemon_that_reads_what_an_earlier_one_left_writes_nothing(rows, maps):
    KernelTables().extend(maps, wanted_tables(state([FEED]), rows, OWN))
    maps.writes.clear()
    KernelTables.read(maps).extend(maps, wanted_tables(state([FEED]), rows, OWN))
    assert maps.writes == []


def test_only_what_differs_is_written(rows, maps):
    tables = KernelTables()
    tables.extend(maps, wanted_tables(state([FEED]), rows, OWN))
    maps.writes.clear()
    looped = Flow(7, GROUP, 5005), Route("looped", (), loopback=True)
    tables.extend(maps, wanted_tables(state([FEED], [looped]), rows, OWN))
    assert maps.writes == [("set_address", AddressKey(7, GROUP, 0), rows.rule_row("feed"), True)]


def test_extending_keeps_what_is_no_longer_wanted_and_reducing_deletes_only_that(rows, maps):
    tables = KernelTables()
    before = wanted_tables(state([FEED, UNICAST]), rows, {*OWN, ("10.2.0.1", 7)})
    tables.extend(maps, before)
    after = wanted_tables(state([FEED]), rows, OWN)
    maps.writes.clear()
    tables.extend(maps, after)
    assert (tables, maps.writes) == (before, [])
    tables.reduce(maps, after)
    assert KernelTables.read(maps) == tables == after
    assert sorted(maps.names()) == ["delete_address"] * 3 + ["delete_link", "delete_own"]


def test_the_counters_of_a_flow_exist(maps):
    ensure_counters(maps, 1, 2, [3, 4])
    assert maps.cells == {
        (LINKS.offset, 1),
        (RULES.offset, 2),
        (OUTPUTS.offset, 3),
        (OUTPUTS.offset, 4),
    }
