"""The entry point of the control process: it drops privileges first, and ends with one line."""

import os
import socket
import subprocess
import sys

import pytest

from mcrelay.protocol.control import decode_to_supervisor
from mcrelay.protocol.framing import MAX_PACKET, PROCESS_PROTOCOL, Hello

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

NOBODY = 65534
NOBODY_OPTIONS = (f"--uid={NOBODY}", f"--gid={NOBODY}")


@pytest.fixture
def start_process():
    """Yield a function that starts the program and returns it with the other end of its channel."""
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
def test_it_says_hello_without_privileges_and_ends_with_its_channel(start_process):
    process, channel = start_process(*NOBODY_OPTIONS)
    assert decode_to_supervisor(channel.recv(MAX_PACKET)[1:]) == Hello(PROCESS_PROTOCOL)
    channel.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@needs_root
def test_a_process_that_cannot_drop_privileges_ends_with_one_line(start_process):
    process, channel = start_process()
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("control: cannot give up privileges: ")
    assert channel.recv(MAX_PACKET) == b""


@needs_root
def test_a_process_that_gets_an_unknown_message_ends_with_one_line(start_process):
    process, channel = start_process(*NOBODY_OPTIONS)
    channel.recv(MAX_PACKET)
    channel.send(b"?")
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("control: ")
