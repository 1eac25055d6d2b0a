"""The kernel is asked about what is new or has changed, and again if it did not answer."""

from types import SimpleNamespace

import pytest

from mcrelay.config.model import Config, Input, Interface, Output, Rule
from mcrelay.config.problems import SourceLocation
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.model.routes import HostRoute, Neighbour, NeighbourState, NextHop, RouteKind, RouteQuery
from mcrelay.supervisor import host_routing

LINKS = LinkTable({"eth1": Link(3, "eth1", addresses=(LinkAddress("10.2.0.1"),))})


def config(*destinations):
    where = SourceLocation("mcrelay.yaml", 1, 1)
    outputs = tuple(Output("plant", destination, 6001, None, 0, 64, 0) for destination in destinations)
    rule = Rule("feed", "", Input("plant", "239.1.1.1", 5001), outputs, True, "auto", where)
    return Config("auto", 1, True, 10**9, {"plant": Interface("plant", "eth1", None, 64, 0)}, {"feed": rule})


class FakeMonitor:
    def __init__(self):
        self.is_on, self.followed, self.changes = False, None, []

    def switch(self, is_on):
        self.is_on = is_on

    def follow(self, hops, unsettled):
        self.followed = set(hops), set(unsettled)

    def drain(self):
        pass

    def read(self):
        changes, self.changes = self.changes, []
        return changes


class Kernel:
    """Routes every destination through `ifindex`, and knows the states of neighbours."""

    def __init__(self):
        self.now, self.ifindex, self.is_dumb, self.cost = 100.0, 3, False, 0.0
        self.states, self.asked, self.probed = {}, [], []

    def look_up_routes(self, queries):
        if self.is_dumb:
            raise OSError(12, "Cannot allocate memory")
        self.asked.append({query.destination for query in queries})
        self.now += self.cost
        return {query: HostRoute(RouteKind.UNICAST, self.ifindex, None, "10.2.0.1") for query in queries}

    def look_up_neighbours(self, hops):
        if self.is_dumb:
            raise OSError(12, "Cannot allocate memory")
        return {hop: self.states.get(hop, Neighbour(NeighbourState.KNOWN)) for hop in hops}

    def probe_neighbours(self, hops):
        if self.is_dumb:
            raise OSError(12, "Cannot allocate memory")
        self.probed += hops
        return []


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    for name, fake in (
        ("look_up_routes", kernel.look_up_routes),
        ("look_up_neighbours", kernel.look_up_neighbours),
        ("privileged", kernel),
        ("RouteMonitor", FakeMonitor),
        ("NeighbourMonitor", FakeMonitor),
        ("time", SimpleNamespace(monotonic=lambda: kernel.now)),
    ):
        monkeypatch.setattr(host_routing, name, fake)
    return kernel


@pytest.fixture
def routing(kernel):
    return host_routing.HostRouting()


HOP = NextHop(3, "10.2.0.2")
QUERY = RouteQuery("10.2.0.2", 6001)


def test_only_new_routes_are_asked_for_and_nothing_is_watched_without_unicast_outputs(kernel, routing):
    routing.follow(config("239.2.2.2"), LINKS)
    assert kernel.asked == []
    assert not routing.route_monitor.is_on
    assert not routing.neighbour_monitor.is_on
    routing.follow(config("10.2.0.2"), LINKS)
    routing.find(config("10.2.0.2", "10.2.0.3"), LINKS)
    assert kernel.asked == [{"10.2.0.2"}, {"10.2.0.3"}]
    assert routing.route_monitor.is_on
    assert routing.neighbour_monitor.is_on


def test_a_change_of_routes_asks_again_and_only_other_answers_are_a_change(kernel, routing):
    wanted = config("10.2.0.2")
    routing.follow(wanted, LINKS)
    routing.routes_changed()
    kernel.now = routing.next_deadline()
    assert not routing.update(wanted, LINKS)
    assert len(kernel.asked) == 2
    assert routing.next_deadline() is None
    kernel.ifindex = 9
    routing.links_changed()
    kernel.now = routing.next_deadline()
    assert routing.update(wanted, LINKS)
    assert routing.follow(wanted, LINKS).routes[QUERY].ifindex == 9
    assert not routing.update(wanted, LINKS)


def test_a_question_that_takes_long_is_not_repeated_at_once(kernel, routing):
    wanted = config("10.2.0.2")
    routing.follow(wanted, LINKS)
    kernel.cost = 0.2
    routing.routes_changed()
    kernel.now = routing.next_deadline()
    routing.update(wanted, LINKS)
    before = kernel.now
    routing.routes_changed()
    assert routing.next_deadline() == pytest.approx(before + 1.8)


def test_a_kernel_that_does_not_answer_changes_nothing_and_is_asked_again(kernel, routing, caplog):
    wanted = config("10.2.0.2")
    routing.follow(wanted, LINKS)
    kernel.is_dumb = True
    routing.routes_changed()
    kernel.now = routing.next_deadline()
    assert not routing.update(wanted, LINKS)
    assert "cannot ask for routes, trying again: cannot allocate memory" in caplog.text
    assert routing.next_deadline() == kernel.now + host_routing.RETRY_DELAY_S
    kernel.is_dumb, kernel.ifindex = False, 9
    kernel.now = routing.next_deadline()
    assert routing.update(wanted, LINKS)


def test_a_neighbour_is_silent_after_its_failure_until_it_answers(kernel, routing):
    wanted = config("10.2.0.2")
    kernel.states[HOP] = Neighbour(NeighbourState.ABSENT)
    assert routing.follow(wanted, LINKS).silent == frozenset()
    assert kernel.probed == [HOP]
    assert routing.neighbour_monitor.followed == ({HOP}, {HOP})
    routing.neighbour_monitor.changes = [(HOP, Neighbour(NeighbourState.FAILED))]
    routing.neighbours_changed()
    assert routing.update(wanted, LINKS)
    assert routing.follow(wanted, LINKS).silent == {HOP}
    kernel.now += 1
    assert not routing.update(wanted, LINKS)
    assert kernel.probed == [HOP, HOP]
    routing.neighbour_monitor.changes = [(HOP, Neighbour(NeighbourState.KNOWN))]
    routing.neighbours_changed()
    assert routing.update(wanted, LINKS)
    assert routing.follow(wanted, LINKS).silent == frozenset()
    assert routing.neighbour_monitor.followed == ({HOP}, set())


def test_if_changes_of_neighbours_were_lost_their_states_are_asked_for(kernel, routing):
    wanted = config("10.2.0.2")
    routing.follow(wanted, LINKS)
    kernel.states[HOP] = Neighbour(NeighbourState.FAILED)
    routing.neighbour_monitor.changes = None
    routing.neighbours_changed()
    assert routing.update(wanted, LINKS)


def test_a_kernel_that_does_not_answer_about_neighbours_is_told(kernel, routing, caplog):
    kernel.states[HOP] = Neighbour(NeighbourState.ABSENT)
    routing.follow(config("10.2.0.2"), LINKS)
    routing.neighbour_monitor.changes = [(HOP, Neighbour(NeighbourState.FAILED))]
    routing.neighbours_changed()
    kernel.is_dumb = True
    kernel.now += 1
    routing.update(config("10.2.0.2"), LINKS)
    assert "cannot ask neighbours for their addresses: cannot allocate memory" in caplog.text
    routing.neighbour_monitor.changes = None
    routing.neighbours_changed()
    assert "cannot ask for neighbours: cannot allocate memory" in caplog.text
