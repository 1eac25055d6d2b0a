"""The usage of a process is read from /proc."""

import os

from mcrelay.linux.process_usage import read_usage


def test_cpu_time_and_memory_of_a_process_are_read():
    used = read_usage(os.getpid())
    assert 0 < used.cpu_seconds < 10_000
    assert used.memory_octets > 1 << 20


def test_a_process_that_has_ended_has_no_usage():
    assert read_usage(1 << 30) is None
