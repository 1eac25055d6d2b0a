"""Endpoint keys: an IPv4 address and a UDP port as one number, by which both data paths look up packets.

No other module knows the encoding. A key has the octets in the order of the wire, read as a little-endian
word of 64 bits, so that a packet's keys need no byte swap:

    bits 0 to 31    address
    bits 32 to 47   zero
    bits 48 to 63   UDP port
"""

from __future__ import annotations

from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.addresses import address_to_bytes

EndpointKey = NewType("EndpointKey", int)
"""The key of one endpoint: the destination of a flow, or the source of a packet."""
EndpointKeys = NDArray[np.uint64]
"""The keys of n endpoints, shape (n,)."""

_PORT_PLACE = 48  # in bits
_ADDRESS_MASK, _PORT_MASK = 0xFFFF_FFFF, 0xFFFF << _PORT_PLACE

# How the words of a plain packet (packet/ipv4.py) become keys: the destination is word 2 without the source
# port; the source has its address from the upper half of word 1, and its port from word 2.
DESTINATION_MASK = _ADDRESS_MASK | _PORT_MASK
SOURCE_ADDRESS_SHIFT = 32  # to the right, of word 1
SOURCE_PORT_SHIFT, SOURCE_PORT_MASK = 16, _PORT_MASK  # to the left, of word 2, and the mask after the shift


def endpoint_key(address: str, port: int) -> EndpointKey:
    """Return the key of an address and a UDP port."""
    octets = address_to_bytes(address) + bytes(2) + port.to_bytes(2, "big")
    return EndpointKey(int.from_bytes(octets, "little"))


def destination_keys(word_2: NDArray[np.uint64]) -> EndpointKeys:
    """Return the destinations of n plain packets from their words 2."""
    return word_2 & np.uint64(DESTINATION_MASK)


def source_keys(word_1: NDArray[np.uint64], word_2: NDArray[np.uint64]) -> EndpointKeys:
    """Return the sources of n plain packets from their words 1 and 2."""
    keys = word_2 << np.uint64(SOURCE_PORT_SHIFT)
    keys &= np.uint64(SOURCE_PORT_MASK)
    keys |= word_1 >> np.uint64(SOURCE_ADDRESS_SHIFT)
    return keys


def endpoint_keys(address: NDArray[np.uint32], port: NDArray[Any]) -> EndpointKeys:
    """Return the keys of n addresses (as numbers) and UDP ports."""
    ports = port.astype(np.uint16).byteswap().astype(np.uint64)
    keys: EndpointKeys = address.byteswap().astype(np.uint64) | ports << np.uint64(_PORT_PLACE)
    return keys


def addresses(keys: EndpointKeys) -> NDArray[np.uint32]:
    """Return the addresses of keys, as numbers."""
    return keys.astype(np.uint32).byteswap()


def ports(keys: EndpointKeys) -> NDArray[np.uint16]:
    """Return the UDP ports of keys."""
    ports: NDArray[np.uint16] = (keys >> np.uint64(_PORT_PLACE)).astype(np.uint16).byteswap()
    return ports


def pair_with_address(index: NDArray[np.int64], keys: EndpointKeys) -> NDArray[np.uint64]:
    """Return one number for each pair of an index below 2**32 and the address of a key."""
    pairs: NDArray[np.uint64] = index.astype(np.uint64) << np.uint64(32) | keys & np.uint64(_ADDRESS_MASK)
    return pairs


def find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return, for each wanted number, a place in the sorted `keys`, and whether that place holds it.

    `keys` has at least one item.
    """
    if len(keys) == 1:
        return np.zeros(len(wanted), np.int64), wanted == keys[0]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
