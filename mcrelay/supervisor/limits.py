"""The limits of the system that many rules can reach, with the setting that raises each limit."""

from __future__ import annotations

import errno
import math
import resource
import socket
from pathlib import Path

from mcrelay.kernel.layout import SEGMENT
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.state import DesiredState

RESERVE = 64  # descriptors that rules must leave free, to read files and start workers
_KERNEL_DESCRIPTORS = 15  # of the kernel data plane without any rule

_MEMBERSHIPS = "net.ipv4.igmp_max_memberships"  # of one socket
_OPTIONS = "net.core.optmem_max"  # bytes that filter and memberships of one socket may take
_FILES = "fs.file-max"  # of the whole host
_DEFAULTS = {_MEMBERSHIPS: 20, _OPTIONS: 131_072}  # of the kernel


def max_open_files() -> int:
    """Return the number of files that this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def count_descriptors(state: DesiredState) -> int:
    """Return an estimate of the descriptors that the supervisor needs for `state`."""
    sizes = (len(state.memberships), sum(membership.source is not None for membership in state.memberships))
    per_socket = max(1, _setting(_MEMBERSHIPS) or _DEFAULTS[_MEMBERSHIPS])
    # Memberships for any source and for one source are on different sockets.
    joins = math.ceil((sizes[0] - sizes[1]) / per_socket) + math.ceil(sizes[1] / per_socket)
    rings = len(state.workers) * len(state.forwarding.ingress)
    # An egress socket has another one for what comes back to its port.
    sockets = joins + rings + 2 * len(state.egress) + len(state.reservations)
    return sockets + _count_kernel_descriptors(state) + RESERVE


def _count_kernel_descriptors(state: DesiredState) -> int:
    """Return the number of maps and programs of the kernel data plane, with the segments of its maps."""
    flows = state.kernel.flows
    if not flows:
        return 0
    outputs = sum(len(route.outputs) for route in state.kernel.routes_by_rule().values())
    counted = (len({flow.ifindex for flow in flows}), len(flows), outputs)  # links, rules, outputs
    segments = 2 * sum(math.ceil(rows / SEGMENT) for rows in counted) + math.ceil(len(flows) / SEGMENT)
    return _KERNEL_DESCRIPTORS + segments


def keep_reserve(sock: socket.socket) -> socket.socket:
    """Return the socket, or close it and raise OSError if its descriptor is one of the reserve."""
    if sock.fileno() >= max_open_files() - RESERVE:
        sock.close()
        raise OSError(errno.EMFILE, "too many open files")
    return sock


def describe_error(error: OSError, needed: int) -> str:
    """Return the reason of a failure to open a socket, with advice.

    `needed` is the number of descriptors that all rules together need.
    """
    reason = format_os_error(error)
    match error.errno:
        case errno.EMFILE:
            return f"{reason}; {describe_file_limit(needed)}"
        case errno.ENFILE:
            return f"{reason}; {_advise_to_raise(_FILES)}"
        case errno.ENOBUFS if _setting(_MEMBERSHIPS) == 0:
            return f"{reason}; {_advise_to_raise(_MEMBERSHIPS)}"
        case errno.ENOBUFS | errno.ENOMEM:
            return f"{reason}; {_advise_to_raise(_OPTIONS)}, or give the host more memory"
        case _:
            return reason


def describe_file_limit(needed: int) -> str:
    """Return a message that the limit of open files is too low, with advice."""
    return (
        f"all rules together take about {needed} open files, and the limit is {max_open_files()}: set"
        f" LimitNOFILE= of the service, or `ulimit -Hn` before the start, to {needed} or more"
    )


def _advise_to_raise(name: str) -> str:
    now, default = _setting(name), _DEFAULTS.get(name)
    value = "" if now is None else f" ({now} now)"
    example = f", for example to {default}" if default else ""
    return f"raise {name}{value} with sysctl(8){example}"


def _setting(name: str) -> int | None:
    """Return a setting of the kernel, None if it is hidden (ProcSubset= of systemd.exec(5))."""
    try:
        return int(Path("/proc/sys", name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None
