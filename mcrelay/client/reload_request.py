"""A reload of a running daemon: SIGHUP asks for it, and `reload.wait` answers when its result stands."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from mcrelay.client.connection import PATIENCE as CALL_TIMEOUT_S
from mcrelay.client.connection import BrokenOff, NotPermitted, WrongProtocol, connect
from mcrelay.protocol.jsonrpc import Json

RELOAD_TIMEOUT_S = 60.0  # a reload waits for what the workers do
RETRY_DELAY_S = 0.03  # until the next connection, where the control process has died and is started again

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """How many reloads a daemon had `begun`, and until when to wait for the result of a later one."""

    path: str
    greeting: Answer
    begun: int
    timeout_s: float
    deadline: float


def request_reload(path: str, timeout_s: float) -> tuple[Answer, Answer]:
    """Ask the daemon at a socket path for a reload; return its greeting and the result.

    The result is about the files as they are at the call, or later. Raises one of `UNREACHABLE`.
    """
    mark = set_mark(path, timeout_s)
    send_signal(mark.greeting["pid"], signal.SIGHUP)
    return mark.greeting, wait_for_result(mark)


def set_mark(path: str, timeout_s: float) -> Mark:
    """Ask how many reloads have begun, so that the result of a later one can be told from theirs."""
    deadline = time.monotonic() + timeout_s
    greeting, answer = call_with_retry(path, "reload.mark", timeout_s)
    if "reload.wait" not in greeting.get("methods", ()):
        raise WrongProtocol(
            f"the daemon at {path} is of version {greeting.get('version')}, which cannot tell when a reload"
            " has ended: restart it, or send it SIGHUP"
        )
    return Mark(path, greeting, answer["begun"], timeout_s, deadline)


def wait_for_result(mark: Mark, cause: str | None = None) -> Answer:
    """Return the first result after a mark: of a reload with this cause or, for None, about the files.

    The daemon answers `reload.wait` with null after a few seconds, so that it does not look dead.
    """
    which = {} if cause is None else {"cause": cause}
    pid = mark.greeting["pid"]
    result: Answer | None = None
    while result is None:
        try:
            left = mark.deadline - time.monotonic()
            _, result = call_with_retry(mark.path, "reload.wait", left, pid, begun=mark.begun, **which)
        except BrokenOff:
            if time.monotonic() + RETRY_DELAY_S < mark.deadline:
                raise
            raise BrokenOff(
                f"no result within {mark.timeout_s:g} s; the reload goes on: see `mcrelay status`"
            ) from None
    return result


def call_with_retry(
    path: str, method: str, timeout_s: float, pid: int | None = None, **params: Json
) -> tuple[Answer, Any]:
    """Return the greeting and the answer. A control process that dies meanwhile is started again.

    Raises BrokenOff where a daemon with another process ID than `pid` answers.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with connect(path, min(deadline - time.monotonic(), CALL_TIMEOUT_S)) as client:
                if pid in (None, client.greeting["pid"]):
                    return client.greeting, client.call(method, **params)
        except BrokenOff:
            if time.monotonic() + RETRY_DELAY_S >= deadline:
                raise
            time.sleep(RETRY_DELAY_S)
        else:
            raise BrokenOff("mcrelay was restarted meanwhile: see `mcrelay status`")


def must_be_permitted(pid: int) -> None:
    """Raise `NotPermitted` where this user may not signal a daemon: the kernel decides who may."""
    send_signal(pid, 0)


def send_signal(pid: int, number: int) -> None:
    """Send a signal; raises NotPermitted, and BrokenOff where the process has ended."""
    try:
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)
    except PermissionError:
        raise NotPermitted(f"you may not signal process {pid}: use sudo") from None
    except ProcessLookupError:
        raise BrokenOff(f"process {pid} has ended, or is hidden from here: nothing was reloaded") from None
