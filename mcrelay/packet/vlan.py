"""VLAN tags of frames: the number of the VLAN, and the tags that the kernel leaves before the IP header.

A priority tag (IEEE 802.1p) has the VLAN number 0. It is no VLAN: its packet is read as if it had no tag. The
VLAN of a packet is that of the outermost tag with another number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.frame import (
    CAPTURED,
    LENGTH,
    LINK_PROTOCOL,
    MAX_NESTED_TAGS,
    NETWORK_OFFSET,
    VLAN,
    VLAN_NUMBER,
    VLAN_TAG,
    VLAN_TYPES,
    protocol_word,
)

_TAG = NETWORK_OFFSET // 4  # of a tag that the kernel left, in words of 32 bits
_TAGGED_WORDS = tuple(map(protocol_word, VLAN_TYPES))
_ETHERTYPE = 2 * LINK_PROTOCOL + 1  # in halves of 16 bits


def strip_tags(frames: NDArray[np.uint32], link: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Remove all VLAN tags from n frames in place, as if the kernel had moved them out of the way.

    `link` is the octets of the link header. Return the VLAN number of each frame, 0 without a VLAN, and the
    octets of the removed tags; both of shape (n,).
    """
    vlan: NDArray[Any] = frames[:, VLAN] & VLAN_NUMBER
    octets = np.zeros(len(frames), np.int64)
    for _ in range(MAX_NESTED_TAGS):
        is_tagged = np.isin(frames[:, LINK_PROTOCOL], _TAGGED_WORDS) & (
            frames[:, CAPTURED] >= link + VLAN_TAG
        )
        rows = np.flatnonzero(is_tagged)
        if not len(rows):
            break
        tag = frames.view(">u4")[rows, _TAG].astype(np.uint32)
        vlan[rows] = np.where(vlan[rows] == 0, tag >> 16 & VLAN_NUMBER, vlan[rows])
        frames.view(">u2")[rows, _ETHERTYPE] = tag & 0xFFFF
        frames[rows, _TAG:-1] = frames[rows, _TAG + 1 :]
        frames[rows[:, None], [LENGTH, CAPTURED]] -= np.uint32(VLAN_TAG)
        octets[rows] += VLAN_TAG
    return vlan.astype(np.uint16), octets
