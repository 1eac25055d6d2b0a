"""The drop reasons, each with its counters, its meaning and advice.

`Drop` is the only table of drop reasons. The columns of the counters (counters.py), of `status`, `stats` and
the log, the verdicts of traces and the manual are derived from it, and tests compare the schemas with it.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto


class Scope(Enum):
    """An owner of counters."""

    LINK = auto()
    """A device: packets that belong to no single rule."""
    RULE = auto()
    """The input of a rule."""
    OUTPUT = auto()
    """An output of a rule."""


_LINK, _LINK_OR_RULE, _RULE, _OUTPUT = (Scope.LINK,), (Scope.LINK, Scope.RULE), (Scope.RULE,), (Scope.OUTPUT,)


class Drop(StrEnum):
    """A reason why a packet was not relayed: its name, the owners that count it, its meaning, the advice.

    The reasons of a scope stand in the order of its columns. `send_error` is the last reason of an output; it
    has one column for each name of SEND_ERROR_NAMES (send_errors.py).

    A new reason also needs a verdict (tracing/events.py) if a trace can show it, keys in the schemas, and its
    name in mcrelay-drops(7). tests/project/test_drop_reasons.py fails until it has all of them. A fault of
    packets needs a case in tests/packet/cases.py, which all readers must pass: packet/headers.py,
    packet/scalar.py, tests/support/reference_reader.py, and the kernel's (kernel/program/reader.h,
    `enum verdict`). Where the kernel counts it: kernel/layout.py and kernel/program/layout.h.
    """

    scopes: tuple[Scope, ...]
    meaning: str
    """The cause, as a part of a sentence."""
    advice: str
    """The remedy, as a part of a sentence."""

    def __new__(cls, name: str, scopes: tuple[Scope, ...], meaning: str, advice: str) -> Drop:
        """Return a reason whose value is its name."""
        drop = str.__new__(cls, name)
        drop._value_ = name
        drop.scopes, drop.meaning, drop.advice = scopes, meaning, advice
        return drop

    NO_RULE = (
        "no_rule",
        _LINK,
        "no rule matches this device, address and port, or the frame has a VLAN tag",
        "harmless unless a rule should have matched",
    )
    FRAGMENT = (
        "fragment",
        _LINK_OR_RULE,
        "a fragment of a larger datagram, and fragments are not reassembled",
        "let the sender send datagrams that fit its MTU",
    )
    MALFORMED = (
        "malformed",
        _LINK_OR_RULE,
        "a wrong checksum of IP or UDP, or lengths that contradict each other",
        "check the sender, the cable and the network cards in between",
    )
    OVERSIZE = (
        "oversize",
        _LINK_OR_RULE,
        "a frame of several datagrams (GRO, GSO), or larger than the MTU",
        "`ethtool -K DEVICE gro off tx-udp-segmentation off`, on a veth at both ends",
    )
    SOURCE = (
        "source",
        _RULE,
        "the sender is not among the `sources` of the rule",
        "add the sender's address, or leave out `sources` to accept every sender",
    )
    STALE = (
        "stale",
        _RULE,
        "older than `max_age` when a worker came to it, because the worker stood still",
        "give it more CPU time, or raise `max_age`",
    )
    OWN = (
        "own",
        _RULE,
        "the relay sent the packet, and takes nothing that it sends",
        "normal for rules in opposite directions; else add outputs to the sending rule",
    )
    TTL = (
        "ttl",
        _OUTPUT,
        "the TTL reached 0 by `ttl: decrement`",
        "raise the TTL at the sender, or give the output a fixed `ttl`",
    )
    OVERRUN = (
        "overrun",
        _LINK,
        "packets came faster than the workers relay, and the packet ring was full",
        "raise `workers`, or give them more CPU time",
    )
    SEND_ERROR = (
        "send_error",
        _OUTPUT,
        "the packet was not sent, or did not reach its destination",
        "see the name of the error",
    )

    @property
    def explanation(self) -> str:
        """The meaning and the advice in one line."""
        return f"{self.meaning}: {self.advice}"


def drops_of(scope: Scope) -> tuple[Drop, ...]:
    """Return the reasons that an owner of counters counts, in the order of its columns."""
    return tuple(drop for drop in Drop if scope in drop.scopes)
