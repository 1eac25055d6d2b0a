"""The errors for which an output does not send a packet, each with its meaning and advice.

They are the names below the drop reason `send_error` (drops.py). Each has a column of its own in the counters
of an output: the errors of sendmsg(2), the faults of the way to a destination, and the answers of ICMP.
"""

from __future__ import annotations

import errno
from enum import StrEnum


class PathFault(StrEnum):
    """A reason why the host has no usable way to the destination of an output, which is then not sent to."""

    NO_ROUTE = "no_route"
    OTHER_DEVICE = "other_device"
    PROHIBITED = "prohibited"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    NO_NEIGHBOR = "no_neighbor"
    LINK_DOWN = "link_down"


class IcmpError(StrEnum):
    """An ICMP answer (RFC 792, RFC 1812) which says that a sent packet did not reach its destination."""

    NET_UNREACHABLE = "icmp_net_unreachable"
    HOST_UNREACHABLE = "icmp_host_unreachable"
    PORT_UNREACHABLE = "icmp_port_unreachable"
    PROHIBITED = "icmp_prohibited"
    FRAGMENTATION_NEEDED = "icmp_fragmentation_needed"
    TTL_EXCEEDED = "icmp_ttl_exceeded"
    OTHER = "icmp_other"


# The errors of sendmsg(2) that a relay meets. All others share the name "other".
_ERRNOS = {
    errno.EPERM: "a packet filter of this host refused the packet: see `nft list ruleset`",
    errno.EAGAIN: "the buffer of the socket was full: the output's device is slower than the input",
    errno.EINVAL: "source, destination and device do not go together: try `ip route get ADDRESS oif DEVICE`",
    errno.EMSGSIZE: "too long for one datagram through this device: raise its MTU, or send less at once",
    errno.ENETDOWN: "the output's device is down: `ip link set DEVICE up`",
    errno.ENETUNREACH: "the host has no route to the destination: add one, or give the device an address",
    errno.ENOBUFS: "the device's queue was full: it is slower than the input (`tc -s qdisc show dev DEVICE`)",
    errno.EHOSTUNREACH: "a route forbids it, or no host answers: see `ip neigh` and `ip route get ADDRESS`",
    errno.ENODEV: "the output's device was removed: the output starts again as soon as the device appears",
    errno.EACCES: "a route prohibits it, or this is a broadcast address: see `ip route get ADDRESS`",
    errno.ECONNREFUSED: "no program listens at this port of the host: start the receiver, or correct `port`",
    errno.ENOMEM: "the kernel was out of memory: see `free` and the kernel's log",
}
_PATH_FAULTS = {
    PathFault.NO_ROUTE: "the host has no route to the destination: add one (`ip route add ...`)",
    PathFault.OTHER_DEVICE: "the host's route leads through another device than the output's `interface`: "
    "correct the route or `interface`",
    PathFault.PROHIBITED: "a route of type `prohibit` refuses it: see `ip route get ADDRESS`, `ip rule`",
    PathFault.UNREACHABLE: "a route of type `unreachable` refuses it: see `ip route get ADDRESS`, `ip rule`",
    PathFault.BLACKHOLE: "a route of type `blackhole` swallows it: see `ip route get ADDRESS`, `ip rule`",
    PathFault.NO_NEIGHBOR: "the host or its gateway does not answer ARP: check it, its cable and its VLAN "
    "(`ip neigh`)",
    PathFault.LINK_DOWN: "the output's device is not up, or has no carrier: check the cable, the peer, or "
    "the device below it (`ip link`)",
}
_ICMP_ERRORS = {
    IcmpError.NET_UNREACHABLE: "a router has no route to the destination's network: see `traceroute ADDRESS`",
    IcmpError.HOST_UNREACHABLE: "a router does not reach the host: check it, or see `traceroute ADDRESS`",
    IcmpError.PORT_UNREACHABLE: "no program listens at this port of the host: start the receiver, or correct "
    "`port`",
    IcmpError.PROHIBITED: "a firewall on the way, or at the host, refused the packet: let it accept the port",
    IcmpError.FRAGMENTATION_NEEDED: "too long for a network on the way, and not fragmented there: let the "
    "sender send less at once",
    IcmpError.TTL_EXCEEDED: "the TTL was used up on the way, or the routers form a loop: raise the output's "
    "`ttl`",
    IcmpError.OTHER: "a router or the host answered with another ICMP error: see `tcpdump icmp`",
}
OTHER_ERRNO = "other"

SEND_ERROR_EXPLANATIONS = {
    **{errno.errorcode[code]: explanation for code, explanation in _ERRNOS.items()},
    **{str(fault): explanation for fault, explanation in _PATH_FAULTS.items()},
    **{str(error): explanation for error, explanation in _ICMP_ERRORS.items()},
    OTHER_ERRNO: "another error of sendmsg(2): `mcrelay trace` names the error",
}
SEND_ERROR_NAMES = tuple(SEND_ERROR_EXPLANATIONS)
"""The names in the order of their columns."""

_FIRST_FAULT_CODE = 4096  # errnos are smaller (MAX_ERRNO of linux/err.h)
FAULT_CODES = {fault: _FIRST_FAULT_CODE + index for index, fault in enumerate(PathFault)}
"""Numbers that stand for the faults where an errno stands for an error of sendmsg(2), as in traces."""
SEND_ERROR_CODES = {
    **{code: errno.errorcode[code] for code in _ERRNOS},
    **{code: str(fault) for fault, code in FAULT_CODES.items()},
}
"""The name of each errno and fault that has a column of its own."""


def send_error_name(code: int) -> str:
    """Return the name of an errno or of the number of a fault, also of one without a column."""
    return SEND_ERROR_CODES.get(code) or errno.errorcode.get(code, str(code))
