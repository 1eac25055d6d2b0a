"""Memory that a worker writes can be read by others, but neither written nor shrunk."""

import errno
import mmap
import os
import subprocess
import sys

import pytest

from mcrelay.ipc.shared_memory import SharedMemory

NOBODY = 65534

# Becomes another user, and prints what each try to write with the descriptor for reading came to.
TRIES = """
import errno, mmap, os, sys
descriptor, nobody = map(int, sys.argv[1:])
os.setgroups([])
os.setresgid(nobody, nobody, nobody)
os.setresuid(nobody, nobody, nobody)
def came_to(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print(
    came_to(lambda: os.pwrite(descriptor, b"x", 0)),
    came_to(lambda: mmap.mmap(descriptor, 4096)),
    came_to(lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)),
    came_to(lambda: os.fchmod(descriptor, 0o777)),
)
"""


@pytest.fixture
def shared():
    made = SharedMemory("test", 4096)
    yield made
    made.close()


def test_data_written_with_one_descriptor_is_read_with_the_other(shared):
    with (
        mmap.mmap(shared.descriptor, 4096) as written,
        mmap.mmap(shared.for_reading, 4096, prot=mmap.PROT_READ) as read,
    ):
        written[:5] = b"hello"
        assert read[:5] == b"hello"


def test_the_descriptor_for_reading_cannot_write(shared):
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(shared.for_reading, b"x", 0)
    with pytest.raises(PermissionError):
        mmap.mmap(shared.for_reading, 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")
def test_another_user_cannot_reopen_it_for_writing(shared):
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRIES, str(shared.for_reading), str(NOBODY)],
        pass_fds=[shared.for_reading],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["EBADF", "EACCES", "EACCES", "EPERM"], done.stderr


def test_its_size_cannot_be_changed(shared):
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(shared.descriptor, size)


def test_both_descriptors_are_closed_with_it():
    made = SharedMemory("test", 4096)
    made.close()
    for descriptor in (made.descriptor, made.for_reading):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(descriptor)
