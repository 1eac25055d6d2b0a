"""The UDP checksum (RFC 768) of many packets at once.

The octets of a packet are added as numbers of 16 bits in the host's byte order, in place in the ring. In the
other byte order, the sum is 256 times as large, modulo 0xFFFF (RFC 1071).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.ipv4 import CHECKSUM_MODULUS, UDP

Column = NDArray[Any]

_CHECKSUM = 3  # of a UDP header, in halves of 16 bits
_MODULUS = np.uint64(CHECKSUM_MODULUS)


def has_wrong_checksum(
    frames: NDArray[np.uint32],
    udp: int | NDArray[np.int64],
    octets: NDArray[np.int64],
    addresses: NDArray[np.uint64],
) -> NDArray[np.bool_]:
    """Return a mask of the n packets whose UDP checksum is wrong; shape (n,).

    `udp` is the offset of the UDP headers in their frames, a multiple of 4: a column, or one number if it is
    the same for all packets. `octets` is the length field of each header, and `addresses` the sum of the
    source and the destination address. A checksum of 0 means that the sender did not compute one.
    """
    halves = frames.view(np.uint16)
    first, count = udp // 2, octets // 2
    if isinstance(first, int) and (count == count[0]).all():
        total: Column = halves[:, first : first + int(count[0])].sum(axis=1, dtype=np.uint32)
    else:
        total = _sum_different_lengths(halves, first, count)
    total = total + ((addresses + np.uint64(UDP) + octets.astype(np.uint64)) << np.uint64(8))
    is_odd = octets % 2 == 1
    rows = np.arange(len(frames))
    if is_odd.any():
        last = halves[rows, np.minimum(first + count, halves.shape[1] - 1)] & np.uint16(0xFF)
        total += np.where(is_odd, last, 0).astype(np.uint64)
    is_wrong: NDArray[np.bool_] = total % _MODULUS != 0
    if is_wrong.any():
        is_wrong &= halves[rows, first + _CHECKSUM] != 0
    return is_wrong


def _sum_different_lengths(
    halves: NDArray[np.uint16], first: int | NDArray[np.int64], count: NDArray[np.int64]
) -> Column:
    """Return the sum of `count` numbers of each packet, from the number `first` on."""
    bounds = np.empty((len(halves), 2), np.int64)
    bounds[:, 0] = np.arange(len(halves)) * halves.shape[1] + first
    bounds[:, 1] = bounds[:, 0] + count
    # reduceat() adds from each bound to the next. Every second sum is of what lies between two packets.
    inside = bounds.ravel()[: -1 if bounds[-1, 1] == halves.size else None]
    sums: Column = np.add.reduceat(halves.reshape(-1), inside, dtype=np.uint32)
    return sums[::2]
