"""Endpoint keys: an IPv4 address and a UDP port as one number, by which both data paths look up packets.

No other module knows the encoding: `address << 32 | port`, a number of 64 bits. So the destination of a plain
packet is its word 2 (packet/ipv4.py) without the source port. The destination of a packet that this host
sends also has the bit OUTGOING, so that only flows with `loopback` match it.
"""

from __future__ import annotations

from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.addresses import address_to_number
from mcrelay.packet.ipv4 import SOURCE_PORT_SHIFT

EndpointKey = NewType("EndpointKey", int)
"""The key of one endpoint: the destination of a flow, or the source of a packet."""
EndpointKeys = NDArray[np.uint64]
"""The keys of n endpoints; shape (n,)."""

ADDRESS_SHIFT = 32  # in a key, in bits from the right
PORT_MASK = 0xFFFF
DESTINATION_MASK = 0xFFFF_FFFF << ADDRESS_SHIFT | PORT_MASK  # of word 2
OUTGOING = 1 << 16


def endpoint_key(address: str, port: int) -> EndpointKey:
    """Return the key of an address and a UDP port."""
    return EndpointKey(address_to_number(address) << ADDRESS_SHIFT | port)


def outgoing_key(address: str, port: int) -> EndpointKey:
    """Return the key of the destination of packets that this host sends."""
    return EndpointKey(endpoint_key(address, port) | OUTGOING)


def destination_keys(word_2: NDArray[np.uint64]) -> EndpointKeys:
    """Return the destinations of n plain packets from their words 2."""
    return word_2 & np.uint64(DESTINATION_MASK)


def source_keys(word_1: NDArray[np.uint64], word_2: NDArray[np.uint64]) -> EndpointKeys:
    """Return the sources of n plain packets from their words 1 and 2."""
    keys = word_2 >> np.uint64(SOURCE_PORT_SHIFT)
    keys &= np.uint64(PORT_MASK)
    keys |= word_1 << np.uint64(ADDRESS_SHIFT)
    return keys


def endpoint_keys(address: NDArray[np.uint32], port: NDArray[Any]) -> EndpointKeys:
    """Return the keys of n addresses (as numbers) and UDP ports."""
    keys: EndpointKeys = address.astype(np.uint64) << np.uint64(ADDRESS_SHIFT) | port.astype(np.uint64)
    return keys


def addresses(keys: EndpointKeys) -> NDArray[np.uint32]:
    """Return the addresses of keys, as numbers."""
    return (keys >> np.uint64(ADDRESS_SHIFT)).astype(np.uint32)


def ports(keys: EndpointKeys) -> NDArray[np.uint16]:
    """Return the UDP ports of keys."""
    return keys.astype(np.uint16)


def pair_with_address(index: NDArray[np.int64], keys: EndpointKeys) -> NDArray[np.uint64]:
    """Return one number for each pair of an index below 2**32 and the address of a key."""
    pairs: NDArray[np.uint64] = index.astype(np.uint64) << np.uint64(32) | keys >> np.uint64(ADDRESS_SHIFT)
    return pairs


def find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an index in the sorted `keys` for each wanted number, and a mask of the numbers at their index.

    `keys` has at least one item.
    """
    if len(keys) == 1:
        return np.zeros(len(wanted), np.int64), wanted == keys[0]
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return index, keys[index] == wanted
