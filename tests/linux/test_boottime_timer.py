"""The timer of the time since the boot expires once after each start, also if the process stood still."""

import os
import signal
import subprocess
import sys

import pytest

TIMED = """
import select, signal, sys
from mcrelay.linux.boottime_timer import BoottimeTimer

expired = []
timer = BoottimeTimer(lambda: expired.append(1))
"""


@pytest.fixture
def run():
    """Run Python code after the start of a timer, and return what it printed."""
    processes = []

    def started(code):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", TIMED + code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def test_it_expires_once_after_each_start(run):
    process = run(
        "for count in (1, 2):\n"
        "    timer.start(1_000_000)\n"
        "    while len(expired) < count:\n"
        "        signal.pause()\n"
        "print(len(expired), flush=True)\n"
    )
    assert process.stdout.readline() == "2\n"


def test_a_new_start_takes_the_place_of_the_last_one(run):
    process = run(
        "timer.start(3600_000_000_000)\n"
        "timer.start(1_000_000)\n"
        "while not expired:\n"
        "    signal.pause()\n"
        "print(len(expired), flush=True)\n"
    )
    assert process.stdout.readline() == "1\n"


def test_a_stopped_process_notices_that_it_expired_before_it_does_anything_else(run):
    process = run(
        "poll = select.poll()\n"
        "poll.register(0, select.POLLIN)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "timer.start(50_000_000)\n"
        "print('started', flush=True)\n"
        "poll.poll()\n"
        "print(len(expired), flush=True)\n"
    )
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "started\n"
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    signal.sigtimedwait([], 0.1)
    process.stdin.write("a packet\n")
    process.stdin.flush()
    os.kill(process.pid, signal.SIGCONT)
    assert process.stdout.readline() == "1\n"
