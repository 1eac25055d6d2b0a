"""Tries at the start what the daemon needs later, because it would restart children that fail for ever."""

from __future__ import annotations

import os
from pathlib import Path

from mcrelay.linux.sandbox import PrivilegesHeldError, drop_all_privileges
from mcrelay.model.os_errors import format_os_error
from mcrelay.supervisor.privileged import PrivilegeError, User, open_packet_socket

_REMEDY = (
    "start mcrelay as root of the host, or of a container that has this user; or as another user than root,"
    " with CAP_NET_RAW and CAP_NET_ADMIN as ambient capabilities: see mcrelay-installing(7)"
)


def probe_privileges(user: User | None) -> None:
    """Raise PrivilegeError if a child cannot give up its privileges, or if packet sockets are forbidden.

    `user` is the user that the children become. Call it before the first thread starts, because it forks.
    """
    if failure := _try_to_drop(user):
        who = "the children cannot give up their privileges"
        if user is not None:
            who = f"the children cannot become the user `{user.name}` (uid {user.uid}, gid {user.gid})"
        raise PrivilegeError(f"{who}: {_explain(user, failure)}: {_REMEDY}")
    try:
        open_packet_socket().close()
    except OSError as error:
        raise PrivilegeError(
            f"cannot open a packet socket: {format_os_error(error)}: a user namespace needs a network"
            " namespace of its own, and the kernel and the filters of the container must permit AF_PACKET"
        ) from None


def _try_to_drop(user: User | None) -> str:
    """Drop all privileges in a process of its own; return the error, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover: it ends without a report of its coverage
        try:
            drop_all_privileges(user.uid if user else None, user.gid if user else None)
        except (PrivilegesHeldError, OSError) as error:
            os.write(writing, str(error).encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as answer:
        failure = answer.read()
    os.waitpid(child, 0)
    return failure


def _explain(user: User | None, failure: str) -> str:
    """Return the reason for a failure: what the user namespace lacks, or else the error of the kernel."""
    if user is not None and not (_has_id("uid_map", user.uid) and _has_id("gid_map", user.gid)):
        return "this user namespace does not have that user"
    if _read("setgroups") == "deny":
        return "this user namespace forbids setgroups(2)"
    return failure


def _has_id(name: str, number: int) -> bool:
    """Return whether the user namespace has a user or group (user_namespaces(7)); True if that is unknown."""
    ranges = [line.split() for line in _read(name).splitlines()]
    return not ranges or any(int(first) <= number < int(first) + int(count) for first, _, count in ranges)


def _read(name: str) -> str:
    try:
        return Path("/proc/self", name).read_text().strip()
    except OSError:
        return ""
