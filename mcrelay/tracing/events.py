"""Trace events: a packet, the verdict on it, and the outcome at each output of its rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mcrelay.model.drops import Drop

MAX_OUTCOMES = 64  # outcomes that an event keeps; a rule may have more outputs

SENT, EXPIRED = 0, 0xFFFF  # codes of an outcome; every other code is an errno
NO_VLAN = 0xFFFF


class PacketVerdict(IntEnum):
    """Whether a packet was relayed, or why not."""

    RELAYED = 0
    NO_RULE = 1
    TAGGED = 2
    FRAGMENT = 3
    MALFORMED = 4
    OVERSIZE = 5
    SOURCE = 6
    OWN = 7

    @property
    def drop(self) -> Drop | None:
        """The drop reason under which such a packet is counted; None for a relayed packet."""
        return _DROPS.get(self)

    @property
    def has_ports(self) -> bool:
        """Whether the packet has a UDP header whose fields can be trusted."""
        return self not in (PacketVerdict.FRAGMENT, PacketVerdict.MALFORMED)


_DROPS = {
    PacketVerdict.NO_RULE: Drop.NO_RULE,
    PacketVerdict.TAGGED: Drop.NO_RULE,
    PacketVerdict.FRAGMENT: Drop.FRAGMENT,
    PacketVerdict.MALFORMED: Drop.MALFORMED,
    PacketVerdict.OVERSIZE: Drop.OVERSIZE,
    PacketVerdict.SOURCE: Drop.SOURCE,
    PacketVerdict.OWN: Drop.OWN,
}


class SendOutcome(NamedTuple):
    """What happened to the datagram of one output. The address is a number."""

    destination: int
    ifindex: int
    port: int
    code: int
    """SENT, EXPIRED (the TTL was used up), or the errno of the failed send."""


class Head(NamedTuple):
    """The header fields of a packet and the verdict on it. Addresses are numbers."""

    time: int
    """Arrival: CLOCK_REALTIME, nanoseconds."""
    ifindex: int
    source: int
    destination: int
    length: int
    """Octets on the wire, counted from the IP header."""
    payload: int
    """Octets of UDP payload; meaningless unless the verdict `has_ports`."""
    source_port: int
    destination_port: int
    vlan: int
    """VLAN number, or NO_VLAN."""
    verdict: PacketVerdict
    ttl: int
    tos: int


@dataclass(frozen=True, slots=True)
class Event:
    """A packet and the outcome at each output."""

    head: Head
    outcomes: tuple[SendOutcome, ...]
    outputs: int
    """Number of outputs, which may exceed the number of outcomes (at most MAX_OUTCOMES)."""
    packet: bytes
    """The packet from its IP header on, possibly cut short."""
