"""Flows with and without sources in the maps: what is there after each step, and the order of the writes."""

import errno
import os
from dataclasses import replace

import pytest

from mcrelay.kernel.layout import KernelRoute
from mcrelay.model.state import Flow
from mcrelay.supervisor.kernel_flows import KernelFlows
from tests.support.kernel_harness import FakeMaps

ANY = Flow(2, "239.1.1.1", 5001)
ONE, TWO = (replace(ANY, source=source) for source in ("10.0.0.1", "10.0.0.2"))
ROUTE, OTHER = KernelRoute(rule_row=3, link_row=1), KernelRoute(rule_row=4, link_row=1)
NOBODY = frozenset()


def listing(route=ROUTE, is_shared=False):
    """Return the list of sources of a rule."""
    return KernelRoute(route.rule_row, route.link_row, lists_sources=True, is_shared=is_shared)


@pytest.fixture
def maps():
    return FakeMaps()


@pytest.fixture
def flows(maps):
    return KernelFlows(maps)


def set_flows(flows, routes, shared=NOBODY):
    """Set flows, and bring their lists up to date."""
    for flow, route in routes.items():
        flows.set(flow, route)
    flows.update_lists(shared)


def test_a_list_is_written_after_all_its_sources(maps, flows):
    set_flows(flows, {ONE: ROUTE, TWO: ROUTE})
    assert maps.has_flows == {ONE: ROUTE, TWO: ROUTE, ANY: listing()}
    assert [write[1] for write in maps.writes] == [ONE, TWO, ANY]
    assert flows.has_sources


def test_a_list_that_does_not_change_is_not_written(maps, flows):
    set_flows(flows, {ONE: ROUTE})
    maps.writes.clear()
    set_flows(flows, {TWO: ROUTE})
    assert [write[1] for write in maps.writes] == [TWO]


def test_sources_of_a_rule_that_took_any_replace_its_flow_at_once(maps, flows):
    set_flows(flows, {ANY: ROUTE})
    flows.set(ONE, ROUTE)
    assert maps.has_flows[ANY] == ROUTE
    maps.writes.clear()
    flows.delete([ANY], NOBODY)
    assert maps.has_flows == {ONE: ROUTE, ANY: listing()}
    assert [write[:2] for write in maps.writes] == [("set_flow", ANY)]


def test_as_long_as_the_flow_of_any_source_is_wanted_no_list_replaces_it(maps, flows):
    set_flows(flows, {ONE: ROUTE})
    set_flows(flows, {ANY: OTHER})
    assert maps.has_flows == {ONE: ROUTE, ANY: OTHER}


def test_a_rule_that_takes_any_source_again_keeps_its_flow_when_its_sources_go(maps, flows):
    set_flows(flows, {ONE: ROUTE, TWO: ROUTE})
    flows.set(ANY, ROUTE)
    flows.delete([ONE, TWO], NOBODY)
    assert maps.has_flows == {ANY: ROUTE}
    assert not flows.has_sources


def test_the_list_goes_before_its_last_source_which_all_cpus_have_seen_leave(maps, flows):
    set_flows(flows, {ONE: ROUTE, TWO: ROUTE})
    maps.writes.clear()
    flows.delete([ONE, TWO], NOBODY)
    assert maps.has_flows == {}
    names = [write[:2] if write[0] != "grace" else write for write in maps.writes]
    assert names == [
        ("set_flow", ONE),
        ("set_flow", TWO),
        ("grace",),
        ("delete_flow", ANY),
        ("delete_flow", ONE),
        ("delete_flow", TWO),
    ]
    assert all(write[2].is_leaving for write in maps.writes[:2])


def test_the_list_counts_for_a_rule_that_still_has_a_source(maps, flows):
    set_flows(flows, {ONE: ROUTE, TWO: OTHER})
    assert maps.has_flows[ANY] == listing(ROUTE)
    flows.delete([ONE], NOBODY)
    assert maps.has_flows == {TWO: OTHER, ANY: listing(OTHER)}


def test_a_source_that_moves_to_the_workers_is_theirs_before_its_flow_goes(maps, flows):
    set_flows(flows, {ONE: ROUTE, TWO: OTHER})
    maps.writes.clear()
    flows.delete([TWO], {ANY})
    assert maps.has_flows == {ONE: ROUTE, ANY: listing(is_shared=True)}
    assert maps.writes[0] == ("set_flow", ANY, listing(is_shared=True))
    flows.update_lists(NOBODY)
    assert maps.has_flows[ANY] == listing()


def test_what_an_earlier_daemon_left_half_done_is_completed(maps, flows):
    maps.has_flows = {ONE: ROUTE, Flow(2, "239.1.1.9", 5001): listing()}
    flows.adopt(maps.flows())
    flows.update_lists(NOBODY)
    assert maps.has_flows == {ONE: ROUTE, ANY: listing()}


def test_after_an_error_the_maps_tell_what_is_there(maps, flows):
    set_flows(flows, {ONE: ROUTE})
    maps.refused[TWO] = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    with pytest.raises(OSError, match="memory"):
        flows.set(TWO, OTHER)
    flows.delete([ONE], NOBODY)
    assert maps.has_flows == {}


def test_nothing_is_left_of_flows_of_any_kind(maps, flows):
    set_flows(flows, {ONE: ROUTE, Flow(2, "239.1.1.9", 5001): OTHER})
    KernelFlows(maps).delete_all()
    assert maps.has_flows == {}


def test_flows_that_are_not_there_are_no_error(maps, flows):
    flows.delete([ONE, ANY], NOBODY)
    assert [write[0] for write in maps.writes] == ["grace", "delete_flow", "delete_flow"]
