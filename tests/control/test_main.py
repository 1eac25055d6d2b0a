"""The entry of the control process: what it gives up first, and how it ends."""

import os
import socket
import subprocess
import sys

import pytest

from mcrelay.protocol.control import decode_to_supervisor
from mcrelay.protocol.framing import MAX_PACKET, PROTOCOL, Hello

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

NOBODY = 65534
NOBODYS = (f"--uid={NOBODY}", f"--gid={NOBODY}")


@pytest.fixture
def started():
    """Start the program as the supervisor does; return it and the other end of its channel."""
    processes = []

    def start(*options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-I", "-m", "mcrelay.control", f"--channel={theirs.fileno()}", *options]
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
        processes.append(process)
        ours.settimeout(20)
        return process, ours

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@needs_root
def test_it_says_hello_when_it_holds_nothing_and_ends_with_its_channel(started):
    process, channel = started(*NOBODYS)
    assert decode_to_supervisor(channel.recv(MAX_PACKET)[1:]) == Hello(PROTOCOL)
    channel.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@needs_root
def test_who_cannot_give_up_its_privileges_says_so_in_a_line_and_ends(started):
    process, channel = started()
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("control: cannot give up privileges: ")
    assert channel.recv(MAX_PACKET) == b""


@needs_root
def test_who_does_not_understand_the_supervisor_says_so_in_a_line_and_ends(started):
    process, channel = started(*NOBODYS)
    channel.recv(MAX_PACKET)
    channel.send(b"?")
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("control: ")
