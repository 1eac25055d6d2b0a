"""The neighbours of the host: their states, their changes, and requests to ask for their addresses."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator

from mcrelay.linux import socket_filters
from mcrelay.linux.constants import (
    NDA_DST,
    NDA_LLADDR,
    NLM_F_ACK,
    NLM_F_CREATE,
    NTF_USE,
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_STALE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    RTNLGRP_NEIGH,
)
from mcrelay.linux.rtnetlink import Message, NetlinkConnection, Subscription, attribute, attributes
from mcrelay.model.addresses import address_to_number
from mcrelay.model.routes import Neighbour, NeighbourState, NextHop

# struct ndmsg: family, padding, ifindex, state, flags, type
_NEIGHBOUR_MESSAGE = struct.Struct("=BxxxiHBB")
_STATES = {
    0: NeighbourState.ABSENT,  # NUD_NONE: an entry that was never used
    NUD_INCOMPLETE: NeighbourState.RESOLVING,
    NUD_STALE: NeighbourState.STALE,
    NUD_FAILED: NeighbourState.FAILED,
}
_WITH_ADDRESS = (NeighbourState.KNOWN, NeighbourState.STALE)
ETHERNET_ADDRESS_OCTETS = 6
# A program of 1000 addresses fits into the memory that the kernel grants a socket for filters (optmem_max).
_MAX_FILTERED = 1000


def look_up_neighbours(hops: Collection[NextHop]) -> dict[NextHop, Neighbour]:
    """Return the state of each next hop. Needs no privilege; raises OSError."""
    with NetlinkConnection() as connection:
        answers = connection.ask(RTM_GETNEIGH, [_encode(hop, 0) for hop in hops])
    # The error is ENOENT for a neighbour that is unknown, and ENODEV after its device was removed.
    return {
        hop: Neighbour(NeighbourState.ABSENT) if answer.error else _decode(answer)[1]
        for hop, answer in zip(hops, answers, strict=True)
    }


def probe_neighbours(hops: Collection[NextHop]) -> list[NextHop]:
    """Make the kernel ask for the addresses of neighbours, as if there were a packet to send.

    Return the neighbours that it cannot ask, for example because its table is full. Needs CAP_NET_ADMIN;
    raises OSError.
    """
    with NetlinkConnection() as connection:
        requests = [_encode(hop, NTF_USE) for hop in hops]
        answers = connection.ask(RTM_NEWNEIGH, requests, NLM_F_CREATE | NLM_F_ACK)
    return [hop for hop, answer in zip(hops, answers, strict=True) if answer.error]


class NeighbourMonitor:
    """A socket that is readable after a followed neighbour has failed, or an unsettled one has changed."""

    def __init__(self) -> None:
        self._subscription = Subscription(RTNLGRP_NEIGH)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._subscription.fileno()

    def switch(self, is_on: bool) -> None:
        """Begin or end to watch."""
        self._subscription.switch(is_on)

    def follow(self, hops: Collection[NextHop], unsettled: Collection[NextHop]) -> None:
        """Watch the failures of these next hops, and all changes of the `unsettled` ones among them."""
        program = socket_filters.EVERYTHING
        if len(hops) + len(unsettled) <= _MAX_FILTERED and not any(":" in hop.address for hop in hops):
            program = socket_filters.neighbour_changes(_numbers(hops), _numbers(unsettled))
        self._subscription.filter(program)

    def read(self) -> list[tuple[NextHop, Neighbour]] | None:
        """Return the changes since the last call, or None if some were lost."""
        messages = self._subscription.read()
        return None if messages is None else list(_changes(messages))


def _changes(messages: list[Message]) -> Iterator[tuple[NextHop, Neighbour]]:
    for message in messages:
        hop, neighbour = _decode(message)
        yield hop, Neighbour(NeighbourState.ABSENT) if message.type == RTM_DELNEIGH else neighbour


def _numbers(hops: Collection[NextHop]) -> set[int]:
    return {address_to_number(hop.address) for hop in hops}


def _encode(hop: NextHop, flags: int) -> bytes:
    family = socket.AF_INET6 if ":" in hop.address else socket.AF_INET
    fields = _NEIGHBOUR_MESSAGE.pack(family, hop.ifindex, 0, flags, 0)
    return fields + attribute(NDA_DST, socket.inet_pton(family, hop.address))


def _decode(message: Message) -> tuple[NextHop, Neighbour]:
    family, ifindex, number, _, _ = _NEIGHBOUR_MESSAGE.unpack_from(message.body)
    found = attributes(message.body, _NEIGHBOUR_MESSAGE.size)
    state = _STATES.get(number, NeighbourState.KNOWN)
    ethernet = found.get(NDA_LLADDR, b"") if state in _WITH_ADDRESS else b""
    address = ethernet.hex(":") if len(ethernet) == ETHERNET_ADDRESS_OCTETS else None
    return NextHop(ifindex, socket.inet_ntop(family, found[NDA_DST])), Neighbour(state, address)
