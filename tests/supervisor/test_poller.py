"""The poller reports what descriptors and children do, and sleeps while the kernel is short of memory."""

import errno
import socket
import time
from types import SimpleNamespace

import pytest

from mcrelay.ipc import channel
from mcrelay.ipc.channel import ChildChannel
from mcrelay.protocol.worker import decode_answer
from mcrelay.supervisor import poller
from mcrelay.supervisor.child_output import open_pipe
from mcrelay.supervisor.poller import Poller


@pytest.fixture
def child():
    """A child of which there is a channel, and the socket at its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    exited, _ = ends = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs, ends[0], ends[1], open_pipe() as (output, _):
        channel = ChildChannel(ours, decode_answer)
        yield SimpleNamespace(channel=channel, output=output, pidfd=exited), theirs


@pytest.mark.parametrize("shortage", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_it_sleeps_and_sends_again_while_the_kernel_is_short_of_memory(child, monkeypatch, shortage):
    child, theirs = child
    board = Poller()
    board.connect(child, on_message=None, on_exit=None)

    def refuse(*_):
        raise OSError(shortage, "no room")

    with monkeypatch.context() as full:
        full.setattr(channel.socket, "send_fds", refuse)
        child.channel.send(b"later")
        began = time.monotonic()
        board.wait(None)
        assert time.monotonic() - began >= poller.SHORTAGE_DELAY_S / 2
        assert child.channel.has_unsent
    board.wait(None)
    assert not child.channel.has_unsent
    assert theirs.recv(100) == b".later"
