"""Maps of the kernel are read and written, one entry or thousands at a time, and every write is counted."""

import os

import pytest

from mcrelay.kernel import bpf
from mcrelay.kernel.bpf import MapSpec
from mcrelay.kernel.bpf_map import BpfMap

pytestmark = pytest.mark.netns  # needs CAP_BPF

ROOM = 12_000


def key(number):
    return number.to_bytes(16, "little")


def value(number):
    return number.to_bytes(64, "big")


@pytest.fixture
def table():
    descriptor = bpf.create_map(MapSpec("test", bpf.HASH, 16, 64, ROOM, bpf.NO_PREALLOC))
    yield BpfMap(descriptor, 16, 64)
    os.close(descriptor)


@pytest.fixture
def array():
    descriptor = bpf.create_map(MapSpec("test", bpf.ARRAY, 4, 8, 5000))
    yield BpfMap(descriptor, 4, 8)
    os.close(descriptor)


def test_an_entry_is_written_read_and_deleted(table):
    assert table.lookup(key(1)) is None
    table.update(key(1), value(7))
    assert table.lookup(key(1)) == value(7)
    assert table.delete(key(1))
    assert not table.delete(key(1))
    assert table.items() == {}


def test_thousands_of_entries_are_written_read_and_deleted_in_batches(table):
    entries = {key(number): value(number) for number in range(10_000)}
    table.update_many(entries)
    assert table.items() == entries
    table.delete_many([key(number) for number in range(1, 10_000)])
    assert table.items() == {key(0): value(0)}


def test_deleting_keys_without_entry_deletes_the_others(table):
    table.update_many({key(number): value(1) for number in range(0, 9000, 2)})
    table.delete_many([key(number) for number in range(9000)])
    assert table.items() == {}


def test_every_write_is_counted_and_nothing_else(table):
    table.update_many({key(number): value(number) for number in range(5000)})
    assert table.writes == 5000
    table.update(key(1), value(2))
    table.delete(key(1))
    table.delete_many([key(1), key(2), key(3)])
    assert table.writes == 5004
    table.lookup(key(4))
    table.items()
    table.delete(key(1))
    table.delete_many([key(1)])
    table.update_many({})
    assert table.writes == 5004


def test_a_batch_that_does_not_fit_has_written_and_counted_its_first_part(table):
    with pytest.raises(OSError, match="Argument list too long"):
        table.update_many({key(number): value(number) for number in range(ROOM + 500)})
    assert table.writes == len(table.items()) == ROOM


def test_what_the_kernel_refuses_is_not_counted(array):
    with pytest.raises(OSError, match="Invalid argument"):
        array.delete((1).to_bytes(4, "little"))
    with pytest.raises(OSError, match="Invalid argument"):
        BpfMap(os.open("/dev/null", os.O_RDONLY), 4, 8).update_many({bytes(4): bytes(8)})
    assert array.writes == 0


def test_an_array_has_an_entry_for_every_key(array):
    array.update((4999).to_bytes(4, "little"), bytes(7) + b"x")
    assert len(array.items()) == 5000
    assert array.items()[(4999).to_bytes(4, "little")] == bytes(7) + b"x"


@pytest.mark.parametrize(("name", "content"), [(b"short", value(1)), (key(1), b"short")])
def test_a_key_or_a_value_of_another_size_is_an_error_of_the_caller(table, name, content):
    with pytest.raises(ValueError, match="a key or a value of this map has"):
        table.update(name, content)
    assert table.writes == 0
