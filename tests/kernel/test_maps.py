"""The maps return what was written, also to a daemon that opens them later, and write nothing else."""

import os

import pytest

from mcrelay.kernel import layout
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.layout import MAX_OUTPUTS, NUMBER, KernelOutput, KernelRoute, group_mac
from mcrelay.kernel.maps import KernelMaps, create_maps, possible_cpus
from mcrelay.kernel.segments import create
from mcrelay.model.counters import RULES
from mcrelay.model.state import Flow

pytestmark = pytest.mark.netns  # needs CAP_BPF

DEVICE = 7


@pytest.fixture
def descriptors():
    made = create_maps(possible_cpus())
    yield made
    for descriptor in made.values():
        os.close(descriptor)


@pytest.fixture
def maps(descriptors):
    return KernelMaps(descriptors, possible_cpus())


def flow(number):
    return Flow(DEVICE, f"239.1.{number // 256}.{number % 256}", 5001)


def route(outputs, rule=3):
    group = "239.2.2.2"
    return KernelRoute(
        rule,
        0,
        tuple(
            KernelOutput(
                8, row, "10.2.0.1", 4000, group, 6001 + row, group_mac(group), bytes(6), 1500, "decrement", 46
            )
            for row in range(outputs)
        ),
    )


ROUTES = {flow(number): route(number if number <= MAX_OUTPUTS else 1, rule=number) for number in range(600)}


def test_flows_with_few_and_many_outputs_are_read_as_they_were_written(maps):
    maps.set_flows(ROUTES)
    assert maps.flows() == ROUTES


def test_a_daemon_that_opens_the_maps_later_reads_the_same_and_writes_nothing(maps, descriptors):
    maps.set_flows(ROUTES)
    later = KernelMaps(descriptors, possible_cpus())
    assert later.flows() == ROUTES
    assert later.writes == 0


def test_a_changed_flow_is_written_and_no_other(maps):
    maps.set_flows(ROUTES)
    before = maps.writes
    maps.set_flow(flow(1), route(9))
    assert maps.flows() == {**ROUTES, flow(1): route(9)}
    assert maps.writes == before + 1


def test_deleted_flows_are_gone_and_their_room_is_used_again(maps, descriptors):
    for _ in range(3):
        maps.set_flows(ROUTES)
        maps.delete_flows(ROUTES)
        maps.delete_flow(flow(1))
        maps.reclaim()
    assert maps.flows() == {}
    assert segments(descriptors) == ["slots-0"]


def test_flows_that_do_not_fit_leave_the_others_as_they_were(monkeypatch):
    monkeypatch.setattr(layout, "MAX_FLOWS", layout.SEGMENT)
    descriptors = create_maps(possible_cpus())
    maps = KernelMaps(descriptors, possible_cpus())
    first = {flow(number): route(1) for number in range(600)}
    maps.set_flows(first)
    with pytest.raises(OSError, match="Argument list too long"):
        maps.set_flows({flow(number): route(4) for number in range(600, 1200)})
    assert maps.flows() == first
    maps.delete_flows([flow(number) for number in range(400)])
    maps.reclaim()
    maps.set_flows({flow(number): route(4) for number in range(600, 1200)})
    assert len(maps.flows()) == 800


def test_a_segment_is_kept_before_the_program_may_use_it(descriptors):
    kept = []

    def keep(name, descriptor):
        assert segment_in(descriptors, name) is None
        kept.append((name, descriptor))

    maps = KernelMaps(descriptors, possible_cpus(), keep)
    maps.ensure_cells(RULES, 3)
    maps.set_flow(flow(1), route(1))
    assert [name.partition("-")[0] for name, _ in kept] == ["hot", "cold", "slots"]
    assert all(segment_in(descriptors, name) is not None for name, _ in kept)


def test_a_segment_that_was_kept_and_not_yet_used_is_used(descriptors):
    descriptors["slots-1"] = create(layout.SLOT_SEGMENT)
    KernelMaps(descriptors, possible_cpus())
    assert segment_in(descriptors, "slots-1") is not None


def segment_in(descriptors, name):
    """Return the ID of a segment as the map of maps has it, None if it has none."""
    outer, _, index = name.rpartition("-")
    return BpfMap(descriptors[outer], 4, 4).lookup(NUMBER.pack(int(index)))


def segments(descriptors):
    return [name for name in descriptors if name.startswith("slots-")]
