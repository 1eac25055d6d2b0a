"""A short time slice is set, in a process of its own."""

import os
import platform
import subprocess
import sys

from mcrelay.linux import scheduling

ASK = """
import os
from mcrelay.linux.scheduling import ask_for_short_slices, read_slice
os.nice(3)
print(read_slice(), ask_for_short_slices(), read_slice(), os.getpriority(os.PRIO_PROCESS, 0))
"""
KNOWS_SLICES = tuple(map(int, platform.release().split("-")[0].split(".")[:2])) >= (6, 12)


def test_a_kernel_with_custom_slices_sets_them_and_keeps_the_priority():
    before, understood, after, nice = subprocess.check_output([sys.executable, "-c", ASK], text=True).split()
    inherited = os.getpriority(os.PRIO_PROCESS, 0)
    assert (understood, int(nice)) == ("True", min(inherited + 3, 19))
    assert int(after) == (scheduling.SLICE_NS if KNOWS_SLICES else int(before))


def test_on_an_unknown_architecture_nothing_is_called(monkeypatch):
    unknown = os.uname_result((*os.uname()[:4], "pdp11"))
    monkeypatch.setattr(os, "uname", lambda: unknown)
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    assert not scheduling.ask_for_short_slices()
    assert scheduling.read_slice() == 0
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority
