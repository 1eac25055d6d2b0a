"""The daemon on a host of the lab, which reports its state by sd_notify(3) as it does to systemd."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from mcrelay.lab.command import TIMEOUT_S, LabError, mcrelay, wait_until
from mcrelay.lab.host import Host

MAX_QUEUED_NOTIFICATIONS = 1000  # if more are unread, the daemon sends the next ones later


class Daemon:
    """Runs `mcrelay run`, with its configuration, run directory, state directory and log in one folder.

    With `stderr`, a descriptor, the log goes there instead.
    """

    def __init__(
        self,
        host: Host,
        folder: Path,
        config: str,
        python: str = sys.executable,
        watch: bool = True,
        stderr: int | None = None,
    ) -> None:
        self.host = host
        self._options = () if watch else ("--no-watch",)
        self.config = folder / "mcrelay.yaml"
        self.run_dir = folder / "run"
        self.state_dir = folder / "state"
        self._log = folder / "log"
        self._notify = folder / "notify"
        self._python = python
        self._stderr = stderr
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)

    def __enter__(self) -> Daemon:
        self.host.sysctl("net.unix.max_dgram_qlen", MAX_QUEUED_NOTIFICATIONS)
        with self.host.enter_namespace():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._notify))
        with self._log.open("a") as log:
            directories = ("--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir))
            arguments = ("run", "-c", str(self.config), *directories, *self._options)
            self.process = self.host.start(
                mcrelay(*arguments, python=self._python),
                stdout=log,
                stderr=log if self._stderr is None else self._stderr,
                environment={"NOTIFY_SOCKET": str(self._notify)},
            )
        try:
            self.await_notification("READY=1")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.stop()
        self._end()
        if error is not None:
            error.add_note(f"the log of mcrelay run:\n{self.log()}")
        elif "Traceback" in self.log():
            raise LabError(f"mcrelay run wrote a traceback:\n{self.log()}")

    def reload(self, config: str | None = None) -> str:
        """Write the configuration if given, send SIGHUP, and return the STATUS after the reload."""
        if config is not None:
            self.config.write_text(config)
        return self._signal(signal.SIGHUP)

    def handle_request(self) -> str:
        """Send SIGUSR2, on which the daemon reads the request in its run directory, and return the STATUS."""
        return self._signal(signal.SIGUSR2)

    def _signal(self, number: signal.Signals) -> str:
        self._forget_notifications()
        self.process.send_signal(number)
        return self.await_reload()

    def await_reload(self) -> str:
        """Wait for the next reload, whatever its cause, and return the STATUS after the reload."""
        self.await_notification("RELOADING=1")
        answer = self.await_notification("READY=1")
        return next((line.removeprefix("STATUS=") for line in answer if line.startswith("STATUS=")), "")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send a signal that ends the daemon, and return the seconds until it ended."""
        sent = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(TIMEOUT_S)
        return time.monotonic() - sent

    def await_notification(self, wanted: str) -> list[str]:
        """Return the lines of the next notification that has the line `wanted`, such as `READY=1`.

        Raises LabError if the daemon ends or does not send it in TIMEOUT_S.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self._socket.settimeout(0.1)
            try:
                lines = self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            if wanted in lines:
                return lines
        raise LabError(
            f"mcrelay run did not send {wanted} (exit {self.process.poll()}); its log:\n{self.log()}"
        )

    def _forget_notifications(self) -> None:
        """Discard the unread notifications of earlier reloads."""
        self._socket.settimeout(0)
        while True:
            try:
                self._socket.recv(4096)
            except BlockingIOError:
                return

    def ask(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of mcrelay as a client of this daemon, and return the completed process."""
        return self.host.run(mcrelay(verb, *words, *self.client_options), check=False)

    @property
    def client_options(self) -> tuple[str, str]:
        """The options that select this daemon on the command line."""
        return ("--run-dir", str(self.run_dir))

    def workers(self) -> list[int]:
        """Return the process IDs of the workers."""
        return self._children(b"mcrelay.worker")

    def control(self) -> list[int]:
        """Return the process ID of the control process as a list, or an empty list if there is none."""
        return self._children(b"mcrelay.control")

    def _children(self, module: bytes) -> list[int]:
        return [
            process
            for process in self.host.processes()
            if module in _read(process, "cmdline").split(b"\0")
            and f"PPid:\t{self.process.pid}\n".encode() in _read(process, "status")
        ]

    def summary(self) -> str:
        """Request the summary of rules and counters (SIGUSR1), and return its lines in the log."""
        before = len(self.log())
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(self.log()) > before, "the summary of mcrelay run")
        length = before
        while length < (length := len(self.log())):  # the summary has several lines
            time.sleep(0.1)
        return self.log()[before:]

    def log(self) -> str:
        """Return the whole log of the daemon."""
        return self._log.read_text()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._socket.close()
        self._notify.unlink(missing_ok=True)


def _read(process: int, file: str) -> bytes:
    try:
        return Path("/proc", str(process), file).read_bytes()
    except OSError:  # the process has ended
        return b""
