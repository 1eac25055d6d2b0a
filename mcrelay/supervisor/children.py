"""The processes that the supervisor starts, workers and the control process."""

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
from mcrelay.model.os_errors import format_os_error
from mcrelay.protocol.control import ToSupervisor, decode_to_supervisor
from mcrelay.protocol.worker import Answer, decode_answer
from mcrelay.supervisor.child_output import open_pipe
from mcrelay.supervisor.counter_rows import CounterMemory
from mcrelay.supervisor.privileged import RING_OCTETS, User

# numpy's linear algebra, which a worker does not use, would start a thread for each CPU.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

EXIT_DELAY_S = 0.1  # from the end of a process's channel to the end of the process


class Child(Generic[Message]):
    """Holds a child process and the channel to it."""

    def __init__(
        self, module: str, options: list[str], user: User | None, decode: Callable[[bytes], Message]
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        command = [sys.executable, "-I", "-m", module, f"--channel={theirs.fileno()}", *options]
        if user is not None:
            command += [f"--uid={user.uid}", f"--gid={user.gid}"]
        with theirs, open_pipe() as (self.output, their_output):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=their_output,
                env=_ENVIRONMENT,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # so that Ctrl-C at a terminal reaches only the supervisor
            )
        self.channel = ChildChannel(ours, decode)
        self.pidfd = os.pidfd_open(self._process.pid)
        """A descriptor that is readable once the process has exited."""
        self.started = time.monotonic()
        """The time of the start, by the monotonic clock, which all processes of a host share."""
        self.is_stopping = False
        """Whether `stop` was called."""
        self._kill_reason = ""

    @property
    def pid(self) -> int:
        """Return the process ID."""
        return self._process.pid

    @property
    def is_stopped(self) -> bool:
        """Return whether a signal, such as SIGSTOP, has stopped the process."""
        flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, flags) is not None
        except ChildProcessError:  # it has exited, and `kill_unless_exiting` has waited for it
            return False

    def stop(self) -> None:
        """Close the channel, so that the process exits by itself."""
        self.is_stopping = True
        self.channel.shut_down()

    def kill_unless_exiting(self, reason: str) -> None:
        """Kill the process unless it exits within EXIT_DELAY_S. An exit closes the channel a moment early."""
        try:
            self._process.wait(EXIT_DELAY_S)
        except subprocess.TimeoutExpired:
            self.kill(reason)

    def kill(self, reason: str) -> None:
        """Kill the process. `reap` returns the reason; of several calls, that of the first."""
        self._kill_reason = self._kill_reason or reason
        self._process.kill()

    def reap(self) -> str:
        """Wait for the exit of the process, log its last words, and return how it exited, as text."""
        code = self._process.wait()
        self.channel.close()
        self.output.close()
        os.close(self.pidfd)
        if code == -signal.SIGKILL and self._kill_reason:
            return f"killed, because {self._kill_reason}"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def describe_start_error(error: OSError) -> str:
    """Return the reason of a failed start, with the file that the error is about, if any."""
    reason = format_os_error(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def start_worker(number: int, user: User | None, memory: CounterMemory) -> Child[Answer]:
    """Start a worker that counts in `memory`. Raises OSError if the process cannot be started."""
    options = [f"--worker={number}", f"--ring-octets={RING_OCTETS}"]
    child = Child("mcrelay.worker", options, user, decode_answer)
    child.channel.send(b"", [memory.shared.descriptor])
    return child


def start_control(user: User | None) -> Child[ToSupervisor]:
    """Start the control process. Raises OSError if it cannot be started."""
    return Child("mcrelay.control", [], user, decode_to_supervisor)
