"""Capabilities are read and dropped, in processes of their own, because they do not come back."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from mcrelay.linux import capabilities
from mcrelay.linux.capabilities import Capability, Privileges, privileges

NOBODY = 65534
NET_RAW, NET_ADMIN = 1 << Capability.CAP_NET_RAW, 1 << Capability.CAP_NET_ADMIN
READ_ALL = 1 << Capability.CAP_DAC_READ_SEARCH
SETS = ("inheritable", "permitted", "effective", "bounding", "ambient")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives up capabilities: needs root")

# Another user, with capabilities that outlive an exec. One of them is for reading a Python below root's home.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *(f"--{kind}-caps=-all,+dac_read_search,+net_raw" for kind in ("inh", "ambient")),
]

REPORT = """
import json, os, sys
from dataclasses import asdict
from mcrelay.linux import capabilities
from mcrelay.linux.capabilities import (
    Capability,
    forbid_new_privileges,
    keep_only,
    limit_bounding_set,
    privileges,
)
{}
print(json.dumps(asdict(privileges())))
"""


def after(code, prefix=()):
    """Return the privileges of a process after it ran some code."""
    command = [*prefix, sys.executable, "-c", REPORT.format(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    held = json.loads(done.stdout)
    return Privileges(**held | {"groups": tuple(held["groups"])})


def sets(held):
    return {name: asdict(held)[name] for name in SETS}


def test_privileges_are_read_from_proc():
    held = privileges()
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    assert (held.uid, held.gid) == (os.geteuid(), os.getegid())
    assert sorted(held.groups) == sorted(os.getgroups())
    assert held.effective == int(fields["CapEff"], 16)
    assert held.bounding == int(fields["CapBnd"], 16)
    for capability in Capability:
        assert held.has(capability) == bool(held.effective & 1 << capability)


@needs_root
def test_keep_only_drops_all_others_from_every_set():
    held = after("keep_only([Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN])")
    wanted = NET_RAW | NET_ADMIN
    assert sets(held) == {
        "inheritable": 0,
        "permitted": wanted,
        "effective": wanted,
        "bounding": wanted,
        "ambient": 0,
    }
    assert held.has(Capability.CAP_NET_RAW)
    assert not held.has(Capability.CAP_SETUID)


@needs_root
def test_an_exec_as_root_does_not_bring_dropped_capabilities_back():
    again = f"os.execv(sys.executable, [sys.executable, '-c', {REPORT.format('')!r}])"
    assert sets(after(f"keep_only([])\n{again}")) == dict.fromkeys(SETS, 0)


@needs_root
def test_a_capability_that_is_not_held_is_not_kept():
    held = after("keep_only([Capability.CAP_NET_RAW])\nkeep_only([Capability.CAP_NET_ADMIN])")
    assert held.permitted == held.effective == 0


@needs_root
def test_without_setpcap_all_but_the_bounding_set_is_dropped():
    held = after("", AS_NOBODY)
    assert held.ambient == held.effective == held.inheritable == READ_ALL | NET_RAW
    confined = after("keep_only([Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN])", AS_NOBODY)
    assert sets(confined) == {
        "inheritable": 0,
        "permitted": NET_RAW,
        "effective": NET_RAW,
        "bounding": held.bounding,
        "ambient": 0,
    }


@needs_root
def test_the_bounding_set_can_be_reduced_alone():
    before = privileges()
    held = after(f"limit_bounding_set({NET_RAW})")
    assert held.bounding == NET_RAW
    assert held.effective == before.effective


def test_without_setpcap_the_bounding_set_is_not_touched():
    held = after("keep_only([])\nlimit_bounding_set(0)")
    assert held.effective == 0


def test_no_exec_can_bring_a_privilege_back():
    assert not after("").no_new_privs
    assert after("forbid_new_privileges()").no_new_privs


@pytest.mark.parametrize(
    ("call", "needed"),
    [("keep_only([Capability.CAP_NET_RAW])", "capset"), ("limit_bounding_set(0)", "prctl")],
)
def test_the_error_of_a_refused_call_names_the_call(call, needed):
    # A process without privileges, which believes that it has all of them.
    code = f"""
import dataclasses
keep_only([])
everything = dataclasses.replace(privileges(), permitted=~0, effective=~0)
if {needed!r} == "capset":
    everything = dataclasses.replace(everything, effective=0)
capabilities.privileges = lambda: everything
try:
    {call}
except PermissionError as error:
    print(error, file=sys.stderr)
else:
    sys.exit("nothing was refused")
"""
    command = [sys.executable, "-c", REPORT.format(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{needed}: Operation not permitted" in done.stderr


def test_the_numbers_are_those_of_the_kernel():
    assert capabilities.Capability["CAP_NET_RAW"] == 13
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert max(Capability) <= last
