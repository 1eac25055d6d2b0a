"""Trace events: a packet, the verdict on it, and the outcome at each output of its rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mcrelay.model.drops import Drop

MAX_OUTCOMES = 64  # outcomes that an event keeps; a rule may have more outputs

SENT, EXPIRED = 0, 0xFFFF  # codes of an outcome; other codes are errnos and FAULT_CODES (send_errors.py)
NO_VLAN = 0xFFFF


class PacketVerdict(IntEnum):
    """The verdict on a packet: relayed, or the drop reason of the same name.

    A packet with a VLAN tag has a verdict of its own, but is counted as `no_rule`. `overrun` has no verdict,
    because the worker never receives such a packet.
    """

    RELAYED = 0
    NO_RULE = 1
    TAGGED = 2
    FRAGMENT = 3
    MALFORMED = 4
    OVERSIZE = 5
    SOURCE = 6
    OWN = 7
    STALE = 8

    @property
    def drop(self) -> Drop | None:
        """The drop reason that counts the packet; None for a relayed packet."""
        return _DROPS.get(self)

    @property
    def has_ports(self) -> bool:
        """True if the packet has a UDP header whose fields are valid."""
        return self not in (PacketVerdict.FRAGMENT, PacketVerdict.MALFORMED)


_DROPS: Mapping[PacketVerdict, Drop] = {
    verdict: Drop.NO_RULE if verdict is PacketVerdict.TAGGED else Drop[verdict.name]
    for verdict in PacketVerdict
    if verdict is not PacketVerdict.RELAYED
}


class SendOutcome(NamedTuple):
    """The outcome at one output. The address is a number."""

    destination: int
    ifindex: int
    port: int
    code: int
    """SENT, EXPIRED (the TTL was used up), the errno of the failed send, or a number of FAULT_CODES."""


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
    """Octets of UDP payload; valid only if the verdict `has_ports`."""
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
    """The packet from its IP header on, possibly truncated."""
