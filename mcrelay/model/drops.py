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
        """What happened and what to do about it, in one line."""
        return _MEANINGS[self]


# The texts of `status`, `trace` and the manual: what happened and, after the colon, what to do about it.
_MEANINGS = {
    Drop.NO_RULE: "no rule takes this device, address and port, or the frame has a VLAN tag: "
    "harmless unless a rule should have taken it",
    Drop.FRAGMENT: "a fragment of a larger datagram, and fragments are not reassembled: "
    "let the sender send no more than fits its MTU",
    Drop.MALFORMED: "a wrong IP checksum, or lengths that contradict each other: "
    "check the sender, the cable and the network cards in between",
    Drop.OVERSIZE: "a frame of several datagrams (GRO, GSO), or larger than the MTU: "
    "`ethtool -K DEVICE gro off tx-udp-segmentation off`, on a veth at both ends",
    Drop.SOURCE: "the sender is not among the `sources` of the rule: "
    "add its address, or leave out `sources` to take every sender",
    Drop.OWN: "the relay itself sent it, and it came back to the input of a rule: "
    "find out how the network of an output leads to that input",
    Drop.TTL: "`ttl: decrement` left no time to live: "
    "raise the TTL at the sender, or give the output a fixed `ttl`",
    Drop.OVERRUN: "packets came faster than the workers relay, and the packet ring was full: "
    "raise `workers`, or give them more CPU time",
    Drop.SEND_ERROR: "the kernel refused to send it: the name of the error says why",
}

# The errors of sendmsg(2) that a relay meets have a column each; all others share the column "other".
_SEND_ERRORS = {
    errno.EPERM: "a packet filter of this host refused it: see `nft list ruleset`",
    errno.EAGAIN: "the buffer of the socket was full: the output's device is slower than the input",
    errno.EINVAL: "source, destination and device do not go together: try `ip route get ADDRESS oif DEVICE`",
    errno.EMSGSIZE: "too long for one datagram through this device: raise its MTU, or send less at once",
    errno.ENETDOWN: "the output's device is down: `ip link set DEVICE up`",
    errno.ENETUNREACH: "no route through the device leads there: add one, or give the device an address",
    errno.ENOBUFS: "the device's queue was full: it is slower than the input (`tc -s qdisc show dev DEVICE`)",
    errno.EHOSTUNREACH: "a route forbids it, or no host answers: see `ip neigh` and `ip route get ADDRESS`",
    errno.ENODEV: "the output's device is gone: the output comes back with it",
    errno.EACCES: "a route prohibits it, or it is a broadcast address: see `ip route get ADDRESS`",
    errno.ECONNREFUSED: "no program of that host listens at this port: start the receiver, or correct `port`",
    errno.ENOMEM: "the kernel had no memory for it: see `free` and the kernel's log",
}
SEND_ERRNOS = tuple(_SEND_ERRORS)
OTHER_ERRNO = "other"
SEND_ERROR_MEANINGS = {
    **{errno.errorcode[code]: meaning for code, meaning in _SEND_ERRORS.items()},
    OTHER_ERRNO: "another error of sendmsg(2): `mcrelay trace` names it",
}
SEND_ERROR_NAMES = tuple(SEND_ERROR_MEANINGS)
