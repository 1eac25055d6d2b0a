"""The control process reads the counters of the kernel as those of one more worker."""

import os
from array import array

import pytest

from mcrelay.control.kernel_counters import KernelCounterMemory
from mcrelay.kernel import layout
from mcrelay.kernel.layout import HOT_COLUMNS, SEGMENT
from mcrelay.kernel.maps import possible_cpus
from mcrelay.model.counters import COUNTERS_SIZE, LINKS
from mcrelay.protocol.control import KernelCounters
from mcrelay.status.rates import TABLES

ROWS = dict.fromkeys((table.offset for table in TABLES), SEGMENT + 1)
NAME = f"hot-{layout.cell(LINKS, 0) // SEGMENT}"


@pytest.fixture
def added():
    return []


@pytest.fixture
def memory(added):
    return KernelCounterMemory(added.append)


def segment(packets):
    """Return a descriptor of a segment in which the first link has packets, and the first number of it."""
    descriptor = os.memfd_create("segment")
    os.ftruncate(descriptor, 8 * HOT_COLUMNS * SEGMENT * possible_cpus())
    write(descriptor, packets)
    return descriptor


def write(descriptor, packets):
    os.pwrite(descriptor, array("Q", [packets]).tobytes(), 0)


def packets_of(memory):
    return memory.cast("Q")[LINKS.index(0, "packets")]


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_without_a_kernel_data_plane_there_is_no_memory(memory, added):
    memory.refresh(ROWS)
    assert added == []


def test_one_memory_follows_the_counters_of_all_segments(memory, added):
    first = segment(7)
    kept = os.dup(first)
    memory.include(KernelCounters(1, NAME), first)
    memory.include(KernelCounters(1, "hot-1"), segment(9))
    assert not is_open(first)
    assert [len(one) for one in added] == [COUNTERS_SIZE]
    memory.refresh(ROWS)
    assert packets_of(added[0]) == 7
    write(kept, 8)
    memory.refresh(ROWS)
    assert packets_of(added[0]) == 8
    assert added[0].cast("Q")[LINKS.index(SEGMENT, "packets")] == 9
    os.close(kept)


def test_a_new_data_plane_has_a_new_memory(memory, added):
    memory.include(KernelCounters(1, NAME), segment(7))
    memory.include(KernelCounters(2, NAME), segment(1))
    memory.refresh(ROWS)
    assert [packets_of(one) for one in added] == [0, 1]


def test_a_descriptor_that_cannot_be_mapped_is_closed(memory):
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match="No such device"):
        memory.include(KernelCounters(1, NAME), reading)
    assert not is_open(reading)
