"""The usage of a process is read from /proc."""

import os
import subprocess
import sys

from mcrelay.lab.command import wait_until
from mcrelay.linux.process_usage import read_run_state, read_usage


def test_cpu_time_and_memory_of_a_process_are_read():
    used = read_usage(os.getpid())
    assert 0 < used.cpu_seconds < 10_000
    assert used.memory_octets > 1 << 20


def test_a_process_that_has_ended_has_no_usage():
    assert read_usage(1 << 30) is None


def test_a_process_is_asleep_or_runs_and_one_that_is_gone_has_no_state():
    state, ticks = read_run_state(os.getpid())
    assert state == "R"
    assert ticks >= 0
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        wait_until(lambda: read_run_state(child.pid)[0] == "S", "the child that waits")
        child.stdin.close()
        child.wait()
        assert read_run_state(child.pid) == ("", 0)
