"""Why packets are not relayed: the drop reasons and the send errors, with what each means and what to do."""

from __future__ import annotations

import errno
from enum import StrEnum


class Drop(StrEnum):
    """Why a packet was not relayed."""

    NO_RULE = "no_rule"
    FRAGMENT = "fragment"
    MALFORMED = "malformed"
    OVERSIZE = "oversize"
    SOURCE = "source"
    OWN = "own"
    TTL = "ttl"
    OVERRUN = "overrun"
    SEND_ERROR = "send_error"

    @property
    def meaning(self) -> str:
        """What it means and what to do, in one line."""
        return _MEANINGS[self]


# Written once, for `status`, `trace` and the manual: what it is, and after the colon what to do about it.
_MEANINGS = {
    Drop.NO_RULE: "no rule's input has this device, address and port, or the frame has a VLAN tag: "
    "harmless unless a rule should have taken it",
    Drop.FRAGMENT: "a part of a datagram that came in several, which are not put together: "
    "let the sender send at most what its MTU holds",
    Drop.MALFORMED: "a wrong IP checksum, or lengths that contradict each other: "
    "look at the sender, and at the cable and the cards between",
    Drop.OVERSIZE: "a frame of several datagrams (GRO, GSO) or beyond the MTU: "
    "`ethtool -K DEVICE gro off tx-udp-segmentation off`, on a veth at both ends",
    Drop.SOURCE: "sent by a host that is not among the rule's `sources`: "
    "add its address, or leave `sources` out to take every sender",
    Drop.OWN: "sent by the relay itself, and come back to a rule's input: "
    "find the way by which an output's network leads there",
    Drop.TTL: "`ttl: decrement` left nothing of its time to live: "
    "raise the TTL at the sender, or give the output a fixed `ttl`",
    Drop.OVERRUN: "came faster than the workers could relay, and the packet ring was full: "
    "raise `workers`, or leave them more CPU time",
    Drop.SEND_ERROR: "refused by the kernel when it was to be sent: the name of the error says why",
}

# The errors of sendmsg(2) that a relay meets, each with a column of its own; the rest share "other".
_SEND_ERRORS = {
    errno.EPERM: "a packet filter of this host refused it: see `nft list ruleset`",
    errno.EAGAIN: "the socket's buffer was full: the output's device is slower than the input",
    errno.EINVAL: "source, destination and device do not go together: try `ip route get ADDRESS oif DEVICE`",
    errno.EMSGSIZE: "too long for one datagram through this device: raise its MTU, or send less at once",
    errno.ENETDOWN: "the output's device is down: `ip link set DEVICE up`",
    errno.ENETUNREACH: "no route leads there through the device: add one, or give the device an address",
    errno.ENOBUFS: "the device's queue was full: it is slower than the input (`tc -s qdisc show dev DEVICE`)",
    errno.EHOSTUNREACH: "a route forbids it, or no host answers: see `ip neigh` and `ip route get ADDRESS`",
    errno.ENODEV: "the output's device has gone: the output comes back with it",
    errno.EACCES: "a route prohibits it, or it is a broadcast address: see `ip route get ADDRESS`",
    errno.ECONNREFUSED: "the host has nobody at this port: start the receiver, or correct `port`",
    errno.ENOMEM: "the kernel had no memory for it: see `free` and the kernel's log",
}
SEND_ERRNOS = tuple(_SEND_ERRORS)
OTHER_ERRNO = "other"
SEND_ERROR_MEANINGS = {
    **{errno.errorcode[code]: meaning for code, meaning in _SEND_ERRORS.items()},
    OTHER_ERRNO: "another error of sendmsg(2): `mcrelay trace` names it",
}
SEND_ERROR_NAMES = tuple(SEND_ERROR_MEANINGS)
