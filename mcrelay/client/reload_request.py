"""Requests a reload of a running daemon with SIGHUP, and waits for the result with `reload.wait`."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from mcrelay.client.connection import ANSWER_TIMEOUT_S as CALL_TIMEOUT_S
from mcrelay.client.connection import AccessDenied, NoAnswer, WrongProtocol, connect
from mcrelay.protocol.jsonrpc import Json

RELOAD_TIMEOUT_S = 60.0  # a reload waits for the workers
RETRY_DELAY_S = 0.03  # before connecting again, while the control process restarts

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReloadWait:
    """A wait for the result of a reload that begins after the first `begun` reloads of a daemon.

    `deadline` is in seconds of the monotonic clock.
    """

    path: str
    greeting: Answer
    begun: int
    timeout_s: float
    deadline: float


def request_reload(path: str, timeout_s: float) -> tuple[Answer, Answer]:
    """Request a reload of the daemon at a socket path; return its greeting and the result.

    The daemon reads the files after the call. Raises one of `UNREACHABLE`.
    """
    wait = prepare_wait(path, timeout_s)
    send_signal(wait.greeting["pid"], signal.SIGHUP)
    return wait.greeting, wait_for_result(wait)


def prepare_wait(path: str, timeout_s: float) -> ReloadWait:
    """Read the number of reloads that have begun; return a wait for the result of a later reload.

    Raises one of `UNREACHABLE`.
    """
    deadline = time.monotonic() + timeout_s
    greeting, answer = call_with_retry(path, "reload.mark", timeout_s)
    if "reload.wait" not in greeting.get("methods", ()):
        raise WrongProtocol(
            f"the daemon at {path} runs version {greeting.get('version')}, which does not report the end of"
            " a reload: restart it, or send it SIGHUP"
        )
    return ReloadWait(path, greeting, answer["begun"], timeout_s, deadline)


def wait_for_result(wait: ReloadWait, cause: str | None = None) -> Answer:
    """Return the first result with this cause or, if `cause` is None, of a reload of the files.

    The daemon answers `reload.wait` with null every few seconds while there is no result. Raises one of
    `UNREACHABLE`.
    """
    filters = {} if cause is None else {"cause": cause}
    pid = wait.greeting["pid"]
    result: Answer | None = None
    while result is None:
        try:
            left = wait.deadline - time.monotonic()
            _, result = call_with_retry(wait.path, "reload.wait", left, pid, begun=wait.begun, **filters)
        except NoAnswer:
            if time.monotonic() + RETRY_DELAY_S < wait.deadline:
                raise
            raise NoAnswer(
                f"no result within {wait.timeout_s:g} s; the reload continues: see `mcrelay status`"
            ) from None
    return result


def call_with_retry(
    path: str, method: str, timeout_s: float, pid: int | None = None, **params: Json
) -> tuple[Answer, Any]:
    """Call a method; return the greeting and the result. Connects again while the control process restarts.

    Raises NoAnswer if the daemon is not process `pid`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with connect(path, min(deadline - time.monotonic(), CALL_TIMEOUT_S)) as client:
                if pid in (None, client.greeting["pid"]):
                    return client.greeting, client.call(method, **params)
        except NoAnswer:
            if time.monotonic() + RETRY_DELAY_S >= deadline:
                raise
            time.sleep(RETRY_DELAY_S)
        else:
            raise NoAnswer("the daemon was restarted during the call: see `mcrelay status`")


def require_permission(pid: int) -> None:
    """Raise AccessDenied if the kernel does not permit this user to signal the daemon."""
    send_signal(pid, 0)


def send_signal(pid: int, number: int) -> None:
    """Send a signal. Raises AccessDenied, or NoAnswer if the process has ended."""
    try:
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
    except PermissionError:
        raise AccessDenied(f"not permitted to signal process {pid}: use sudo") from None
    except ProcessLookupError:
        raise NoAnswer(f"process {pid} has ended, or is not visible here: nothing was reloaded") from None
