"""The programs load with the capabilities of the supervisor, and a reason is told where they do not load."""

import errno
import os
import re
import struct
from types import SimpleNamespace

import pytest

from mcrelay.kernel import bpf, counters, layout, loader
from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.loader import OBJECT, check_object, load_programs
from mcrelay.kernel.maps import KernelMaps, create_maps, possible_cpus
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.linux.capabilities import Capability, keep_only
from mcrelay.model.counters import OUTPUTS, RULES
from tests.netns.support.forked import run_apart

pytestmark = pytest.mark.netns  # needs CAP_BPF
LINUX = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))


def test_two_capabilities_suffice_to_load_the_programs_and_to_clear_counters():
    def with_two():
        keep_only({Capability.CAP_BPF, Capability.CAP_NET_ADMIN})
        maps = KernelMaps(create_maps(possible_cpus()), possible_cpus())
        programs = load_programs(maps.descriptors)
        maps.ensure_cells(RULES, 3)
        maps.use_segments()
        counters.clear(programs.clear, RULES, 3, maps.cpus)
        maps.reclaim()

    run_apart(with_two)


@pytest.mark.skipif(LINUX <= (6, 1), reason="Linux 6.1 refuses the types (kernel/btf.py)")
def test_a_function_of_which_the_kernel_knows_the_types_is_verified_once():
    def verified():
        keep_only({Capability.CAP_BPF, Capability.CAP_NET_ADMIN})
        return verified_instructions(load_programs(create_maps(possible_cpus())).ingress)

    assert int(run_apart(verified)) < 30_000


def test_a_kernel_that_refuses_types_gets_the_program_without_them(monkeypatch):
    def refuse(octets):
        raise OSError(errno.EINVAL, "Invalid argument")

    with_types = load_programs(create_maps(possible_cpus()))
    monkeypatch.setattr("mcrelay.kernel.bpf.load_types", refuse)
    without = load_programs(create_maps(possible_cpus()))
    assert verified_instructions(without.ingress) >= verified_instructions(with_types.ingress)


def verified_instructions(program):
    """Return how many instructions of a program the verifier has followed, 0 before Linux 5.16."""
    return struct.unpack_from("=I", bpf.info(program, 220), 216)[0]  # struct bpf_prog_info


def test_missing_capabilities_are_named():
    def without():
        maps = create_maps(possible_cpus())
        keep_only(set())
        with pytest.raises(KernelPlaneUnavailable) as raised:
            load_programs(maps)
        return raised.value

    assert "lacks CAP_BPF or CAP_NET_ADMIN" in run_apart(without)


@pytest.mark.parametrize(
    ("byte_order", "why"), [("little", "built without ziglang"), ("big", "none for big-endian hosts")]
)
def test_an_installation_without_the_object_says_so(tmp_path, monkeypatch, byte_order, why):
    monkeypatch.setattr("sys.byteorder", byte_order)
    with pytest.raises(KernelPlaneUnavailable, match=why):
        load_programs({}, tmp_path / OBJECT.name)


def test_a_file_that_is_no_object_is_named(tmp_path):
    path = tmp_path / OBJECT.name
    path.write_bytes(b"text")
    with pytest.raises(KernelPlaneUnavailable, match="not an object file for this machine"):
        load_programs({}, path)


def test_an_object_of_another_version_is_unavailable_with_what_to_do():
    with pytest.raises(KernelPlaneUnavailable, match=r"relay.bpf.*: the program has a map .* install"):
        load_programs({})


def test_counters_are_read_without_a_privilege():
    maps = KernelMaps(create_maps(possible_cpus()), possible_cpus())
    maps.ensure_cells(OUTPUTS, 5)
    maps.use_segments()

    def read():
        os.setresuid(65534, 65534, 65534)
        reader = CounterReader(maps.cpus)
        for name, descriptor in maps.descriptors.items():
            reader.add(name, descriptor)
        return reader.row(OUTPUTS, 5)

    assert run_apart(read) == str([0] * len(OUTPUTS.columns))


def test_a_row_without_memory_has_zeros():
    assert CounterReader(possible_cpus()).row(RULES, 1) == [0] * len(RULES.columns)


def test_the_kernel_s_reason_is_told_where_it_has_no_name(monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EINVAL, "Invalid argument: something that the verifier says")

    monkeypatch.setattr("mcrelay.kernel.bpf.load_program", refuse)
    with pytest.raises(KernelPlaneUnavailable, match="the kernel refuses the program: "):
        load_programs(create_maps(possible_cpus()))


def test_an_object_for_other_maps_is_refused_before_the_kernel_sees_it(tmp_path, monkeypatch):
    check_object()
    monkeypatch.setattr(loader, "LAYOUT", bytes(len(layout.LAYOUT)))
    with pytest.raises(KernelPlaneUnavailable, match=r"for the maps of another version .*; install mcrelay"):
        check_object()
    with pytest.raises(KernelPlaneUnavailable, match="for the maps of another version"):
        load_programs({})


@pytest.mark.parametrize(
    ("release", "error", "reason"),
    [
        (
            "5.4.0-150-generic",
            errno.EINVAL,
            "Linux 5.4.0-150-generic is older than 5.15, and refuses the program",
        ),
        ("5.15.0", errno.EINVAL, "the kernel refuses the program: invalid argument"),
        ("4.19.0", errno.EPERM, "the kernel refuses the program: the daemon lacks CAP_BPF"),
        ("4.19.0", errno.ENOMEM, "the kernel refuses the program: the kernel has no memory"),
    ],
)
def test_a_refusal_names_an_old_kernel_if_that_may_be_the_reason(monkeypatch, release, error, reason):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(loader.bpf, "load_program", refuse)
    host = SimpleNamespace(release=release, machine=os.uname().machine)
    monkeypatch.setattr(loader.os, "uname", lambda: host)
    maps = dict.fromkeys(layout.map_specs(1), 0)
    with pytest.raises(KernelPlaneUnavailable, match=reason):
        load_programs(maps)
