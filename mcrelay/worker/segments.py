"""Runs: packets that follow one another to the same place, alike enough to leave in one message.

A message takes payloads of one length, and the last may be shorter (udp(7), UDP_SEGMENT): a camera's packets
leave by the dozen, and of packets whose lengths differ many leave in twos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS

Column = NDArray[np.int64]

_ROUTE_PLACE, _HEADER_PLACE = 16, 40  # in a key of 64 bits, above the length: routes have 24 of them

# How many payloads of a length the kernel takes as one message, by the length: of none at all, one.
_MOST = np.minimum(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // np.maximum(np.arange(1 << 16), 1))
_MOST[0] = 1


@dataclass(frozen=True, slots=True)
class Runs:
    """m runs of n packets, in the packets' order; columns of shape (m,)."""

    route: Column
    first: Column
    """Place of a run's first packet among the n."""
    count: Column
    """Packets of a run."""
    octets: Column
    """Octets of their payloads together."""


def runs(route: Column, header: Column | None, length: Column) -> Runs:
    """Cut n packets, at least one, into runs; columns of shape (n,).

    `header`, of 16 bits, is what goes into the IP header from the packet itself; None where nothing does.
    """
    kind = route << _ROUTE_PLACE
    if header is not None:
        kind = kind | header << _HEADER_PLACE
    first = starts(kind | length)
    if len(first) > 1:
        first = first[~_is_tail(kind[first], length[first], sizes(first, len(route)))]
    first, count = _within_limits(first, sizes(first, len(route)), length[first])
    return Runs(route[first], first, count, np.add.reduceat(length, first))


def _is_tail(kind: Column, length: Column, count: Column) -> NDArray[np.bool_]:
    """Tell which runs of equal lengths are single shorter packets that leave with the run before them."""
    is_tail = np.zeros(len(kind), np.bool_)
    is_tail[1:] = (kind[1:] == kind[:-1]) & (length[1:] < length[:-1]) & (length[1:] > 0) & (count[1:] == 1)
    if (is_tail[1:] & is_tail[:-1]).any():
        # What is a tail has none itself, so of those that follow one another every other one begins anew.
        place = np.arange(len(is_tail))
        before = np.maximum.accumulate(np.where(is_tail, 0, place))
        is_tail &= (place - before) & 1 == 1
    return is_tail


def _within_limits(first: Column, count: Column, octets: Column) -> tuple[Column, Column]:
    """Cut runs whose first packets have so many octets into pieces that the kernel takes as one message."""
    limit = _MOST[octets]
    if (count <= limit).all():
        return first, count
    pieces = -(-count // limit)
    run = np.repeat(np.arange(len(first)), pieces)
    before = (np.arange(len(run)) - (np.cumsum(pieces) - pieces)[run]) * limit[run]
    return first[run] + before, np.minimum(limit[run], count[run] - before)


def starts(values: Column) -> Column:
    """Return where each run of equal values begins."""
    is_start = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_start[1:])
    return is_start.nonzero()[0]


def sizes(first: Column, total: int) -> Column:
    """Return how long each run is, where `total` is the length of all of them."""
    bounds = np.empty(len(first) + 1, np.int64)
    bounds[:-1], bounds[-1] = first, total
    return bounds[1:] - bounds[:-1]


def spans(values: Column) -> list[tuple[int, int]]:
    """Return from where to where each run of equal values reaches."""
    first = starts(values).tolist()
    return list(zip(first, [*first[1:], len(values)], strict=True))
