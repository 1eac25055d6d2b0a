"""Short slices are asked for in a process of its own, so that the tests' own stays as it is."""

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


def test_a_kernel_that_knows_short_slices_grants_them_and_keeps_the_priority():
    before, understood, after, nice = subprocess.check_output([sys.executable, "-c", ASK], text=True).split()
    inherited = os.getpriority(os.PRIO_PROCESS, 0)
    assert (understood, int(nice)) == ("True", min(inherited + 3, 19))
    assert int(after) == (scheduling.SLICE_NS if KNOWS_SLICES else int(before))


def test_a_machine_without_known_numbers_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    assert not scheduling.ask_for_short_slices()
    assert scheduling.read_slice() == 0
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority
