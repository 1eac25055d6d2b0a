"""The processes that the supervisor starts, and the sockets on which it speaks to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from mcrelay.supervisor.memory import Memory
from mcrelay.supervisor.privileged import RING_OCTETS, User
from mcrelay.wire import (
    CHUNK,
    MAX_ANSWER,
    Answer,
    Assembler,
    BatchMessage,
    Packet,
    WireError,
    decoded_answer,
    encoded_batch,
    packets,
)

# numpy's linear algebra would start a thread for each CPU; a worker has no use for them.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


DYING = 0.1  # seconds between the end of a process's channel and that of the process itself


class ChannelClosed(Exception):
    """The worker is gone, or said something that it never should."""


class Child:
    """A worker's process."""

    def __init__(self, worker: int, user: User | None, memory: Memory) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        command = [sys.executable, "-I", "-m", "mcrelay.worker"]
        command += [f"--worker={worker}", f"--channel={theirs.fileno()}", f"--ring-octets={RING_OCTETS}"]
        if user is not None:
            command += [f"--uid={user.uid}", f"--gid={user.gid}"]
        with theirs:
            # A group of its own: Ctrl-C at a terminal is for the supervisor alone.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        ours.setblocking(False)
        self.worker = worker
        self.channel = ours
        self.exit = os.pidfd_open(self._process.pid)
        """A descriptor that is readable once the process has ended."""
        self._reason = ""
        self._outgoing: deque[Packet] = deque()
        self._assembler = Assembler(MAX_ANSWER)
        self._enqueue(b"", [memory.descriptor])

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def send(self, batch: BatchMessage, descriptors: Sequence[int]) -> None:
        """Give the worker a batch; what its socket does not take now goes out with `flush`."""
        self._enqueue(encoded_batch(batch), descriptors)

    def _enqueue(self, text: bytes, descriptors: Sequence[int]) -> None:
        self._outgoing += packets(text, descriptors)
        self.flush()

    @property
    def has_more_to_say(self) -> bool:
        """Whether the channel is to be watched for room."""
        return bool(self._outgoing)

    def flush(self) -> None:
        """Send what the channel has room for."""
        while self._outgoing:
            packet = self._outgoing[0]
            try:
                socket.send_fds(self.channel, [packet.data], list(packet.descriptors))
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._outgoing.clear()  # its exit is reported by itself
                return
            self._outgoing.popleft()

    def answers(self) -> list[Answer]:
        """Return what the worker said; raises ChannelClosed when it will say nothing more of worth."""
        heard: list[Answer] = []
        while True:
            try:
                data = self.channel.recv(CHUNK + 1)
            except BlockingIOError:
                return heard
            except ConnectionResetError:
                raise ChannelClosed("it hung up") from None
            if not data:
                raise ChannelClosed("it hung up")
            try:
                if message := self._assembler.feed(data):
                    heard.append(decoded_answer(message[0]))
            except WireError as error:
                raise ChannelClosed(str(error)) from None

    def stop(self) -> None:
        """Let the process end by itself: it sees the end of its channel."""
        self.channel.shutdown(socket.SHUT_RDWR)

    def put_down(self, reason: str) -> None:
        """End the process, unless it is ending already: a death closes the channel first."""
        try:
            self._process.wait(DYING)
        except subprocess.TimeoutExpired:
            self.kill(reason)

    def kill(self, reason: str) -> None:
        """End the process; `reaped` tells the reason, the first where there are several."""
        self._reason = self._reason or reason
        self._process.kill()

    def reaped(self) -> str:
        """Say how the ended process ended, and let go of what belonged to it."""
        code = self._process.wait()
        self.channel.close()
        os.close(self.exit)
        if code == -signal.SIGKILL and self._reason:
            return f"killed, because {self._reason}"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
