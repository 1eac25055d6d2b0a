"""Next hops are asked for when they are new or silent, and an answer ends their silence."""

import pytest

from mcrelay.model.routes import Neighbour, NeighbourState, NextHop
from mcrelay.reconcile.neighbours import MAX_PROBES, Neighbours

HOP, OTHER = NextHop(3, "10.2.0.2"), NextHop(3, "10.2.0.254")
KNOWN, STALE = (
    Neighbour(state, "02:00:00:00:00:02") for state in (NeighbourState.KNOWN, NeighbourState.STALE)
)
RESOLVING = Neighbour(NeighbourState.RESOLVING)
FAILED, ABSENT = Neighbour(NeighbourState.FAILED), Neighbour(NeighbourState.ABSENT)


@pytest.fixture
def neighbours():
    neighbours = Neighbours()
    neighbours.set_next_hops({HOP})
    return neighbours


def test_a_new_next_hop_that_is_absent_is_asked_at_once_and_silent_after_a_second(neighbours):
    assert neighbours.unsettled == {HOP}
    assert neighbours.next_deadline() is None  # its state has not been recorded yet
    neighbours.record(HOP, ABSENT, 10.0)
    assert neighbours.due_probes(10.0) == [HOP]
    assert neighbours.next_deadline() == 11.0
    assert neighbours.due_probes(10.9) == []
    assert not neighbours.silent
    assert neighbours.due_probes(11.0) == []
    assert neighbours.silent == {HOP}


def test_a_next_hop_that_is_known_is_not_asked(neighbours):
    neighbours.record(HOP, KNOWN, 10.0)
    assert neighbours.due_probes(20.0) == []
    assert not neighbours.silent
    assert not neighbours.unsettled
    neighbours.record(HOP, ABSENT, 20.0)  # the kernel forgets what nobody uses
    assert neighbours.due_probes(20.0) == []


def test_a_stale_next_hop_is_known_and_not_asked_if_packets_of_the_host_ask(neighbours):
    neighbours.record(HOP, STALE, 10.0)
    assert neighbours.addresses == {HOP: "02:00:00:00:00:02"}
    assert not neighbours.unsettled
    assert neighbours.due_probes(10.0) == []


def test_a_stale_next_hop_that_is_kept_alive_is_asked_each_time(neighbours):
    neighbours.keeps_alive = True
    for now in (10.0, 40.0):
        neighbours.record(HOP, STALE, now)
        assert neighbours.due_probes(now) == [HOP]
        assert neighbours.next_deadline() is None
        neighbours.record(HOP, KNOWN, now + 5)
    assert neighbours.addresses == {HOP: "02:00:00:00:00:02"}
    assert not neighbours.silent


def test_a_next_hop_that_is_kept_alive_is_asked_again_when_the_kernel_has_forgotten_it(neighbours):
    neighbours.keeps_alive = True
    neighbours.record(HOP, KNOWN, 10.0)
    neighbours.record(HOP, ABSENT, 20.0)
    assert neighbours.addresses == {}
    assert neighbours.due_probes(20.0) == [HOP]
    assert neighbours.next_deadline() == 21.0
    assert neighbours.due_probes(21.0) == []
    assert neighbours.silent == {HOP}
    neighbours.record(HOP, ABSENT, 22.0)
    assert neighbours.due_probes(22.0) == [HOP]
    assert neighbours.next_deadline() is None


def test_a_next_hop_that_the_kernel_asks_already_has_a_second_for_its_answer(neighbours):
    neighbours.record(HOP, RESOLVING, 10.0)
    neighbours.record(HOP, RESOLVING, 10.5)
    assert neighbours.next_deadline() == 11.0
    neighbours.record(HOP, KNOWN, 10.9)
    assert neighbours.next_deadline() is None
    assert not neighbours.silent


def test_a_failed_next_hop_is_asked_about_once_a_second_until_it_answers(neighbours):
    neighbours.record(HOP, FAILED, 10.0)
    assert neighbours.silent == neighbours.unsettled == {HOP}
    assert neighbours.due_probes(10.0) == [HOP]
    neighbours.record(HOP, RESOLVING, 10.0)
    assert neighbours.silent == {HOP}
    assert neighbours.next_deadline() is None
    neighbours.record(HOP, FAILED, 10.2)
    assert neighbours.next_deadline() == 11.0
    assert neighbours.due_probes(10.9) == []
    assert neighbours.due_probes(11.0) == [HOP]
    neighbours.record(HOP, KNOWN, 11.5)
    assert not neighbours.silent
    assert neighbours.next_deadline() is None


def test_a_silent_next_hop_stays_silent_when_the_kernel_forgets_it(neighbours):
    neighbours.record(HOP, FAILED, 10.0)
    neighbours.due_probes(10.0)
    neighbours.record(HOP, ABSENT, 15.0)
    assert neighbours.silent == {HOP}
    assert neighbours.due_probes(15.0) == [HOP]


def test_other_neighbours_are_ignored_also_those_that_were_next_hops(neighbours):
    neighbours.record(OTHER, FAILED, 10.0)
    neighbours.record(HOP, FAILED, 10.0)
    neighbours.set_next_hops({OTHER})
    assert not neighbours.silent
    assert neighbours.unsettled == neighbours.next_hops == {OTHER}
    neighbours.record(HOP, FAILED, 11.0)
    assert neighbours.due_probes(20.0) == []


def test_a_next_hop_that_stays_keeps_its_state(neighbours):
    neighbours.record(HOP, FAILED, 10.0)
    neighbours.set_next_hops({HOP, OTHER})
    assert neighbours.silent == {HOP}
    assert neighbours.due_probes(10.0) == [HOP]
    neighbours.record(OTHER, ABSENT, 10.0)
    neighbours.due_probes(11.0)
    neighbours.set_next_hops({HOP, OTHER})
    assert neighbours.next_deadline() == 12.0


def test_many_new_next_hops_are_asked_one_part_a_second_and_none_is_silent_before_it_was_asked(neighbours):
    hops = {NextHop(3, f"10.3.{number >> 8}.{number & 255}") for number in range(2 * MAX_PROBES)}
    neighbours.set_next_hops(hops)
    for hop in hops:
        neighbours.record(hop, ABSENT, 10.0)
    first = neighbours.due_probes(10.0)
    assert len(first) == MAX_PROBES
    assert neighbours.next_deadline() == 11.0
    second = neighbours.due_probes(11.0)
    assert neighbours.silent == set(first)
    assert {*first, *second} == hops


def test_a_neighbour_that_the_kernel_cannot_ask_is_not_silent(neighbours):
    neighbours.record(HOP, ABSENT, 10.0)
    neighbours.record_refusals(neighbours.due_probes(10.0))
    assert neighbours.due_probes(20.0) == []
    assert not neighbours.silent


def test_the_ethernet_address_of_a_next_hop_is_known_as_long_as_the_kernel_knows_it(neighbours):
    assert not neighbours.addresses
    neighbours.record(HOP, KNOWN, 10.0)
    first = neighbours.addresses
    assert first == {HOP: "02:00:00:00:00:02"}
    neighbours.record(HOP, KNOWN, 11.0)
    assert neighbours.addresses is first
    neighbours.record(HOP, Neighbour(NeighbourState.KNOWN, "02:00:00:00:00:03"), 12.0)
    assert neighbours.addresses == {HOP: "02:00:00:00:00:03"}
    neighbours.record(HOP, ABSENT, 13.0)
    assert not neighbours.addresses


def test_the_address_of_a_next_hop_is_forgotten_when_no_output_leads_there(neighbours):
    neighbours.record(HOP, KNOWN, 10.0)
    neighbours.set_next_hops({HOP, OTHER})
    assert neighbours.addresses == {HOP: "02:00:00:00:00:02"}
    neighbours.set_next_hops({OTHER})
    assert not neighbours.addresses
