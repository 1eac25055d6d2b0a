"""Runs of packets that one segmented message can send: one route, one header, one length.

The last packet of a run may be shorter (udp(7), UDP_SEGMENT). The packets of a video stream form long runs;
many packets of different lengths form runs of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS

Column = NDArray[np.int64]

_ROUTE_SHIFT, _HEADER_SHIFT = 16, 40  # in a key of 64 bits: 16 bits of length, 24 of route, 16 of header

# The number of payloads that the kernel accepts as one message, by payload length; 1 for empty payloads.
_MAX_PAYLOADS = np.minimum(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // np.maximum(np.arange(1 << 16), 1))
_MAX_PAYLOADS[0] = 1


@dataclass(frozen=True, slots=True)
class Runs:
    """m runs of n packets, in the packets' order; columns of shape (m,)."""

    route: Column
    first: Column
    """Index of a run's first packet."""
    count: Column
    """Number of packets."""
    octets: Column
    """Sum of the payload lengths."""


def find_runs(route: Column, header: Column | None, length: Column) -> Runs:
    """Return the runs of n packets, n at least 1; columns of shape (n,).

    `header` has the 16 bits of each packet that outputs copy into the IP header, None if none copies any.
    """
    kind = route << _ROUTE_SHIFT
    if header is not None:
        kind = kind | header << _HEADER_SHIFT
    first = run_starts(kind | length)
    if len(first) > 1:
        first = first[~_find_tails(kind[first], length[first], run_sizes(first, len(route)))]
    first, count = _split_to_limits(first, run_sizes(first, len(route)), length[first])
    return Runs(route[first], first, count, np.add.reduceat(length, first))


def _find_tails(kind: Column, length: Column, count: Column) -> NDArray[np.bool_]:
    """Return a mask of the runs that consist of one shorter packet and can end the run before them."""
    is_tail = np.zeros(len(kind), np.bool_)
    is_tail[1:] = (kind[1:] == kind[:-1]) & (length[1:] < length[:-1]) & (length[1:] > 0) & (count[1:] == 1)
    if (is_tail[1:] & is_tail[:-1]).any():
        # A tail ends its run, so every second one of consecutive tails starts a run.
        index = np.arange(len(is_tail))
        before = np.maximum.accumulate(np.where(is_tail, 0, index))
        is_tail &= (index - before) & 1 == 1
    return is_tail


def _split_to_limits(first: Column, count: Column, octets: Column) -> tuple[Column, Column]:
    """Return the runs, split into pieces that the kernel accepts as one message, as `first` and `count`.

    `octets` is the payload length of each run.
    """
    limit = _MAX_PAYLOADS[octets]
    if (count <= limit).all():
        return first, count
    pieces = -(-count // limit)
    run = np.repeat(np.arange(len(first)), pieces)
    before = (np.arange(len(run)) - (np.cumsum(pieces) - pieces)[run]) * limit[run]
    return first[run] + before, np.minimum(limit[run], count[run] - before)


def run_starts(values: Column) -> Column:
    """Return the index of the start of each run of equal values."""
    is_start = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_start[1:])
    return is_start.nonzero()[0]


def run_sizes(first: Column, total: int) -> Column:
    """Return the length of each run, from their starts and the total length."""
    bounds = np.empty(len(first) + 1, np.int64)
    bounds[:-1], bounds[-1] = first, total
    return bounds[1:] - bounds[:-1]


def run_spans(values: Column) -> list[tuple[int, int]]:
    """Return the start and the end (exclusive) of each run of equal values."""
    first = run_starts(values).tolist()
    return list(zip(first, [*first[1:], len(values)], strict=True))
