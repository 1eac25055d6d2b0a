"""The processes that the supervisor starts: a worker, or the control process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Generic

from mcrelay.ipc.channel import ChildChannel, Message
from mcrelay.protocol.control import ToSupervisor, decode_to_supervisor
from mcrelay.protocol.worker import Answer, decode_answer
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.privileged import RING_OCTETS, User

# numpy's linear algebra would start a thread for each CPU; a worker has no use for them.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

DYING = 0.1  # seconds between the end of a process's channel and that of the process itself


class Child(Generic[Message]):
    """A process, and the channel on which the supervisor speaks to it."""

    def __init__(
        self, module: str, options: list[str], user: User | None, decoded: Callable[[bytes], Message]
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        command = [sys.executable, "-I", "-m", module, f"--channel={theirs.fileno()}", *options]
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
        self.channel = ChildChannel(ours, decoded)
        self.exit = os.pidfd_open(self._process.pid)
        """A descriptor that is readable once the process has ended."""
        self.started = time.monotonic()
        """When, by the clock that nobody sets: all processes of a host have the same."""
        self.is_to_end = False
        """Whether it was told to end."""
        self._reason = ""

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def stop(self) -> None:
        """Let the process end by itself: it sees the end of its channel."""
        self.is_to_end = True
        self.channel.shut_down()

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


def why_not(error: OSError) -> str:
    """Say why a process cannot be started, and which file that is about, where it is about one."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def start_worker(number: int, user: User | None, memory: CounterMemory) -> Child[Answer]:
    """Start a worker that counts in `memory`."""
    options = [f"--worker={number}", f"--ring-octets={RING_OCTETS}"]
    child = Child("mcrelay.worker", options, user, decode_answer)
    child.channel.send(b"", [memory.shared.descriptor])
    return child


def start_control(user: User | None) -> Child[ToSupervisor]:
    """Start the control process."""
    return Child("mcrelay.control", [], user, decode_to_supervisor)
