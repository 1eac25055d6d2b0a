"""What the kernel data plane needs of a host and of its daemon, and what a reader of its counters can do."""

import ctypes
import errno
import mmap
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from mcrelay.kernel import bpf
from mcrelay.kernel.bpf import MapSpec
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.location import find_parent, mount_if_missing
from mcrelay.kernel.plane import remove_all
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.linux.bpf_file_system import is_bpf_file_system
from mcrelay.linux.capabilities import Capability, keep_only
from mcrelay.linux.sandbox import drop_all_privileges
from tests.netns.support.forked import run_apart
from tests.netns.support.kernel_relay import KernelRelay
from tests.support.bpf_programs import COUNT, COUNTS, COUNTS_SIZE, KEY, NEXT

NOBODY = 65534
LATE = MapSpec("late", bpf.ARRAY, 4, 8, 1)
PR_SET_KEEPCAPS = 8  # linux/prctl.h
PLANE = (Capability.CAP_NET_RAW, Capability.CAP_NET_ADMIN, Capability.CAP_BPF)


@pytest.fixture
def run_directory():
    """A run directory that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="mcrelay-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def came_to(action):
    """Return `done`, or the name of the error."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def live(relay):
    """Go through the life of a plane."""
    plane = relay.open()
    plane.attach(relay.eth0)
    plane.pin_map("late", bpf.create_map(LATE))
    plane.close()
    plane = relay.open("2")
    plane.attach(relay.eth0)
    plane.remove_earlier_versions()
    plane.close()
    plane = relay.open("2")
    assert plane.was_adopted
    assert plane.attach(relay.eth0) is False
    plane.remove()


@pytest.mark.usefixtures("hook")
def test_the_capabilities_of_the_supervisor_suffice_for_the_whole_life(relay):
    def as_supervisor():
        keep_only(PLANE)
        live(relay)

    run_apart(as_supervisor)


@pytest.mark.usefixtures("hook")
def test_a_service_that_is_not_root_uses_its_directory_in_the_bpf_file_system_of_the_host(
    relay, file_system, run_directory
):
    file_system.chmod(0o700)  # as systemd mounts it
    theirs, seen = file_system / "mcrelay", run_directory / "bpf"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    seen.mkdir()
    subprocess.run(["mount", "--bind", theirs, seen], check=True)

    def as_service():
        ctypes.CDLL(None).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        keep_only(PLANE)
        assert find_parent(run_directory) == seen
        live(KernelRelay(seen))

    try:
        run_apart(as_service)
        assert list(theirs.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", seen], check=True)


@pytest.mark.parametrize("missing", [Capability.CAP_NET_ADMIN, Capability.CAP_BPF])
def test_a_missing_capability_is_named_and_leaves_nothing(relay, missing):
    def without_it():
        keep_only(set(PLANE) - {missing})
        with pytest.raises(KernelPlaneUnavailable) as raised:
            relay.open()
        return raised.value

    assert "lacks CAP_BPF or CAP_NET_ADMIN" in run_apart(without_it)
    assert not relay.parent.exists()


@pytest.mark.usefixtures("hook")
def test_a_daemon_that_has_lost_the_capability_still_removes_what_it_left(relay, wire):
    relay.leave_attached()

    def without_it():
        keep_only({Capability.CAP_NET_ADMIN})
        with pytest.raises(KernelPlaneUnavailable):
            relay.open("2")
        remove_all(relay.directory())

    run_apart(without_it)
    assert wire.is_silent()
    assert not relay.parent.exists()


def test_a_file_system_that_cannot_be_written_is_named(relay, file_system):
    subprocess.run(["mount", "-o", "remount,ro", file_system], check=True)
    with pytest.raises(KernelPlaneUnavailable, match=r"cannot use .*: read-only file system"):
        relay.open()


def test_a_directory_of_another_user_is_named(relay):
    relay.parent.mkdir(mode=0o700)

    def as_another():
        drop_all_privileges(NOBODY, NOBODY)
        with pytest.raises(KernelPlaneUnavailable, match=r"cannot use .*: permission denied"):
            relay.open()

    run_apart(as_another)


def test_a_host_without_a_bpf_file_system_is_told_how_to_mount_one(tmp_path):
    with pytest.raises(KernelPlaneUnavailable, match=f"run `mount -t bpf bpf {tmp_path}/bpf`"):
        find_parent(tmp_path / "run", tmp_path / "bpf")


def test_one_is_mounted_where_that_is_permitted(tmp_path):
    place = tmp_path / "bpf"
    place.mkdir()
    run_apart(lambda: (keep_only(PLANE), mount_if_missing(tmp_path / "run", place)))
    assert not is_bpf_file_system(place)
    mount_if_missing(tmp_path / "run", place)
    try:
        assert find_parent(tmp_path / "run", place) == place / "mcrelay"
        mount_if_missing(tmp_path / "run", place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
    assert not is_bpf_file_system(place)  # so it was mounted once


@pytest.fixture
def counts(relay, wire):
    """The descriptor of the map of a plane, which has counted three frames and is frozen."""
    plane = relay.open()
    plane.attach(relay.eth0)
    bpf.freeze(plane.objects.maps[COUNTS])
    assert wire.relayed(1, 2, 3) == [1, 2, 3]
    return plane.objects.maps[COUNTS]


def test_a_process_without_privileges_reads_the_counts_and_can_do_nothing_else(counts, relay, wire):
    table = BpfMap(counts, len(KEY), COUNT.size)
    pin = next(relay.parent.rglob(COUNTS))
    attempts = [
        lambda: mmap.mmap(counts, COUNTS_SIZE),
        lambda: table.update(KEY, COUNT.pack(0)),
        lambda: table.update_many({KEY: COUNT.pack(0)}),
        lambda: bpf.pin(counts, pin.with_name("other")),
        lambda: bpf.get(pin),
        lambda: bpf.create_map(LATE),
        lambda: bpf.load_program(bpf.SOCKET_FILTER, "test", NEXT, "GPL"),
    ]

    def as_reader():
        drop_all_privileges(NOBODY, NOBODY)
        with mmap.mmap(counts, COUNTS_SIZE, prot=mmap.PROT_READ) as memory:
            assert COUNT.unpack_from(memory) == (3,)
        return " ".join(map(came_to, attempts))

    assert run_apart(as_reader).split() == [*["EPERM"] * 3, *["EACCES"] * 2, *["EPERM"] * 2]
    assert wire.relayed(4) == [4]
    assert table.lookup(KEY) == COUNT.pack(4)


def test_memory_that_is_mapped_for_reading_cannot_be_made_writable(counts):
    def as_reader():
        drop_all_privileges(NOBODY, NOBODY)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype, libc.mmap.argtypes = (
            ctypes.c_void_p,
            (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long),
        )
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        address = libc.mmap(None, COUNTS_SIZE, mmap.PROT_READ, mmap.MAP_SHARED, counts, 0)
        assert libc.mprotect(address, COUNTS_SIZE, mmap.PROT_READ | mmap.PROT_WRITE) == -1
        return errno.errorcode[ctypes.get_errno()]

    assert run_apart(as_reader) == "EACCES"
