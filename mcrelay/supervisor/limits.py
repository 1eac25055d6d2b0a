"""The limits of the system that many rules come to, and which setting has to have which value then."""

from __future__ import annotations

import errno
import math
import resource
import socket
from pathlib import Path

from mcrelay.model.state import DesiredState

RESERVE = 64  # descriptors that rules leave alone: files are still read, and workers started

_MEMBERSHIPS = "net.ipv4.igmp_max_memberships"  # for each socket, so there are as many sockets as it takes
_OPTIONS = "net.core.optmem_max"  # octets that the filter and the memberships of one socket may take
_FILES = "fs.file-max"  # of the whole host
_USUAL = {_MEMBERSHIPS: 20, _OPTIONS: 131_072}  # the kernel's own values


def open_files() -> int:
    """Return how many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors(state: DesiredState) -> int:
    """Return about how many descriptors the supervisor needs for `state`."""
    sizes = (len(state.memberships), len({one for one in state.memberships if one.source is not None}))
    on_a_socket = max(1, _setting(_MEMBERSHIPS) or _USUAL[_MEMBERSHIPS])
    # A socket has memberships either for any source or for one.
    joins = math.ceil((sizes[0] - sizes[1]) / on_a_socket) + math.ceil(sizes[1] / on_a_socket)
    rings = state.worker_count * len(state.forwarding.ingress)
    return joins + rings + len(state.forwarding.egress) + len(state.reservations) + RESERVE


def keep_reserve(sock: socket.socket) -> socket.socket:
    """Return a socket for a rule, or close it where it has one of the last descriptors; raises OSError."""
    if sock.fileno() >= open_files() - RESERVE:
        sock.close()
        raise OSError(errno.EMFILE, "too many open files")
    return sock


def why(error: OSError, needed: int) -> str:
    """Return why a socket cannot be had; `needed` are the descriptors of all rules together."""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.EMFILE:
            return f"{reason}; {too_few_files(needed)}"
        case errno.ENFILE:
            return f"{reason}; {_raise(_FILES)}"
        case errno.ENOBUFS if _setting(_MEMBERSHIPS) == 0:
            return f"{reason}; {_raise(_MEMBERSHIPS)}"
        case errno.ENOBUFS | errno.ENOMEM:
            return f"{reason}; {_raise(_OPTIONS)}, or give the host more memory"
        case _:
            return reason


def too_few_files(needed: int) -> str:
    """Return what to do where the limit of open files is too low."""
    return (
        f"all rules together take about {needed} open files, and the limit is {open_files()}: set"
        f" LimitNOFILE= of the service, or `ulimit -Hn` before the start, to {needed} or more"
    )


def _raise(name: str) -> str:
    now, usual = _setting(name), _USUAL.get(name)
    value = "" if now is None else f" ({now} now)"
    example = f", for example to {usual}" if usual else ""
    return f"raise {name}{value} with sysctl(8){example}"


def _setting(name: str) -> int | None:
    """Return a setting of the kernel, None where it is hidden (ProcSubset= of systemd.exec(5))."""
    try:
        return int(Path("/proc/sys", name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None
