"""A reader of a heartbeat knows since when the writer has been silent."""

import os

import pytest

from mcrelay.ipc.heartbeat import HeartbeatReader, HeartbeatWriter


@pytest.fixture
def reader():
    made = HeartbeatReader()
    yield made
    os.close(made.fileno())


@pytest.fixture
def writer(reader):
    made = HeartbeatWriter()
    made.write_to(os.dup(reader.fileno()))
    return made


def test_silence_begins_with_the_first_check_without_a_new_beat(reader, writer):
    writer.beat()
    reader.check(10.0)
    assert reader.silent_since is None
    for now in (20.0, 30.0):
        reader.check(now)
        assert reader.silent_since == 20.0
    writer.beat()
    reader.check(40.0)
    assert reader.silent_since is None


def test_silence_is_forgotten_with_the_process(reader):
    reader.check(10.0)
    assert reader.silent_since == 10.0
    reader.reset()
    assert reader.silent_since is None


def test_a_writer_without_a_descriptor_does_nothing():
    HeartbeatWriter().beat()


def test_a_writer_closes_the_descriptor_that_another_one_replaces(reader, writer):
    first = HeartbeatReader()
    descriptor = os.dup(first.fileno())
    other = HeartbeatWriter()
    other.write_to(descriptor)
    other.write_to(os.dup(reader.fileno()))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    os.close(first.fileno())
    other.beat()
    reader.check(10.0)
    assert reader.silent_since is None
