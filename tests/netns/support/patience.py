"""A process whose output a test reads must not keep the test for ever."""

import os
import signal
import threading
from contextlib import contextmanager

from mcrelay.lab.command import TIMEOUT_S


@contextmanager
def ended_in_time(process):
    """Kill a process of the lab, with its children, after TIMEOUT_S: who reads its output meets the end."""
    timer = threading.Timer(TIMEOUT_S, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
