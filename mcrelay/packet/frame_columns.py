"""What the kernel writes beside the packets in ring frames, as columns: arrival, lengths, GSO type.

`frames` has shape (n, words of a frame).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.frame import (
    GSO_TYPE,
    LENGTH,
    NANOSECONDS,
    NETWORK_OFFSET,
    OFFSETS,
    SECONDS,
    VNET_HEADER,
)


def arrival_times(frames: NDArray[np.uint32], rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
    """Return the arrival times of the packets at these rows, in nanoseconds since 1970 (CLOCK_REALTIME)."""
    seconds, nanoseconds = frames[rows, SECONDS].astype(np.int64), frames[rows, NANOSECONDS]
    return seconds * 1_000_000_000 + nanoseconds


def arrival_time(frame: NDArray[np.uint32]) -> int:
    """Return the arrival time of one packet, in nanoseconds since 1970."""
    return int(frame[SECONDS]) * 1_000_000_000 + int(frame[NANOSECONDS])


def present_octets(frames: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the octets that each packet had on the wire, from its IP header on."""
    return frames[:, LENGTH].astype(np.int64) - link_octets(frames)


def link_octets(frames: NDArray[np.uint32]) -> int:
    """Return the octets of the link header, which are the same for all packets of a device."""
    offsets = int(frames[0, OFFSETS])
    return (offsets >> 16) - (offsets & 0xFFFF)


def gso_types(frames: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the GSO type of each frame: 0 unless GSO or GRO put several datagrams into the frame."""
    return frames.view(np.uint8)[:, NETWORK_OFFSET - link_octets(frames) - VNET_HEADER + GSO_TYPE]
