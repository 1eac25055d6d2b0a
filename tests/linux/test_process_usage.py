"""What a process uses is what the kernel says in /proc."""

import os

from mcrelay.linux.process_usage import read_usage


def test_the_usage_of_a_process_is_what_the_kernel_says():
    used = read_usage(os.getpid())
    assert 0 < used.cpu_seconds < 10_000
    assert used.memory_octets > 1 << 20


def test_a_process_that_has_ended_uses_nothing():
    assert read_usage(1 << 30) is None
