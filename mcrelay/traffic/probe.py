"""The payload of `mcrelay send`, which has a number, a time stamp, and a check that covers all octets.

    octets   0  4     8     12     16        24    32                    size
             +--+-----+-----+------+---------+-----+----------------------+
             mark size  flow  check  sequence  time  filling
             +--+-----+-----+------+---------+-----+----------------------+

All numbers are in network byte order. `time` is the time of sending, in nanoseconds since 1970. `check`
covers all other numbers, and the filling is computed from size, flow and sequence. The receiver thus detects
every octet that was changed, cut off or copied from another packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Octets: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[np.integer[Any]]

MARK = int.from_bytes(b"mcr1")
HEADER = np.dtype(
    [
        ("mark", ">u4"), ("size", ">u4"), ("flow", ">u4"), ("check", ">u4"),
        ("sequence", ">u8"), ("time", ">u8"),
    ]
)  # fmt: skip
WORD_BYTES = 8
MIN_PAYLOAD = HEADER.itemsize  # octets: a payload without filling
MAX_PAYLOAD = 65507  # octets: the 65535 of an IPv4 packet minus the headers of IP and UDP
MAX_SEQUENCE = 2**63 - 1  # so that a sequence number fits a signed column

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: multiples are spread evenly


def padded_size(size: int) -> int:
    """Return the octets of a row for a payload of `size` octets, which is `size` rounded up to words."""
    return -(-size // WORD_BYTES) * WORD_BYTES


def _mix(numbers: Words) -> Words:
    """Hash each number, so that each bit depends on every bit of the input (finalizer of SplitMix64)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# The filling of a packet is this pattern XOR the key of the packet. All words of the pattern are different.
PATTERN = _mix(np.arange(1, padded_size(MAX_PAYLOAD) // WORD_BYTES + 1, dtype=np.uint64) * GOLDEN)


def _keys(size: Integers | int, flow: Integers, sequence: Integers) -> Words:
    """Return the key of each packet, a hash of size, flow and sequence, with shape (n,) and dtype uint64."""
    base = flow.astype(np.uint64) << np.uint64(32) | np.asarray(size).astype(np.uint64)
    return _mix(base + sequence.astype(np.uint64) * GOLDEN)


def _check(keys: Words, time: Words) -> Words:
    """Return the check of each header, which is the upper 32 bits of a hash of key and time."""
    return ((keys ^ time) * GOLDEN) >> np.uint64(32)


class ProbePayloads:
    """A buffer for many payloads of one size. `fill` writes all of them, `stamp` the time of sending.

    `octets` has a row for each payload (uint8, shape (rows, padded_size(size))), which begins with the `size`
    octets of the payload.
    """

    def __init__(self, rows: int, size: int) -> None:
        self.octets: Octets = np.zeros((rows, padded_size(size)), np.uint8)
        self._size = size
        self._header = self.octets[:, :MIN_PAYLOAD].view(HEADER)[:, 0]
        self._filling = self.octets.view(np.uint64)[:, MIN_PAYLOAD // WORD_BYTES :]
        self._keys = np.zeros(rows, np.uint64)
        self._header["mark"] = MARK
        self._header["size"] = size

    def fill(self, flow: Integers, sequence: Integers) -> None:
        """Write the payload of a flow and a sequence number into each row; both arrays have shape (rows,)."""
        self._header["flow"] = flow
        self._header["sequence"] = sequence
        self._keys = _keys(self._size, flow, sequence)
        pattern = PATTERN[: self._filling.shape[1]]
        np.bitwise_xor(pattern, self._keys[:, np.newaxis], out=self._filling)

    def stamp(self, first: int, last: int, time: int) -> None:
        """Write the time of sending, in nanoseconds since 1970, into rows `first` to `last` - 1."""
        self._header["time"][first:last] = time
        self._header["check"][first:last] = _check(self._keys[first:last], np.array([time], np.uint64))


@dataclass(frozen=True, slots=True)
class ProbeChecks:
    """The result of checking a batch of payloads; every column has shape (n,).

    `ours` (bool) is true if the payload has the mark, `known` (bool) if its header is unchanged, too, and
    `intact` (bool) if its filling is unchanged as well. `flow`, `sequence` and `time` (int64) are valid for
    known payloads.
    """

    ours: NDArray[np.bool_]
    known: NDArray[np.bool_]
    intact: NDArray[np.bool_]
    flow: NDArray[np.int64]
    sequence: NDArray[np.int64]
    time: NDArray[np.int64]


def check_payloads(octets: Octets, lengths: Integers) -> ProbeChecks:
    """Check the payloads in the rows of `octets`, which are `lengths` octets long.

    `octets` has shape (n, width); the width must be a multiple of 8, and at least MIN_PAYLOAD. Octets behind
    the payload in a row are ignored.
    """
    # A copy, so that each row is read from memory once, and not once for each of the six columns.
    header = np.ascontiguousarray(octets[:, :MIN_PAYLOAD]).view(HEADER)[:, 0]
    time, sequence = header["time"].astype(np.uint64), header["sequence"].astype(np.uint64)
    keys = _keys(header["size"], header["flow"], sequence)
    ours = (header["mark"] == MARK) & (lengths >= MIN_PAYLOAD)
    known = ours & (header["size"] == lengths) & (header["check"] == _check(keys, time))
    known &= (sequence <= MAX_SEQUENCE) & (time <= MAX_SEQUENCE)
    return ProbeChecks(
        ours=ours,
        known=known,
        intact=_intact(octets, lengths, keys, known),
        flow=header["flow"].astype(np.int64),
        sequence=sequence.astype(np.int64),
        time=time.astype(np.int64),
    )


def _intact(octets: Octets, lengths: Integers, keys: Words, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return an array of bool, true for the `known` payloads with an unchanged filling."""
    if known.all() and (lengths == lengths[:1]).all():  # the usual case, without a copy of the payloads
        return _has_filling(octets, int(lengths[0]), keys) if len(lengths) else known
    intact = known.copy()
    for length in np.unique(lengths[known]):
        rows = np.flatnonzero(known & (lengths == length))
        intact[rows] = _has_filling(octets[rows, : padded_size(int(length))], int(length), keys[rows])
    return intact


def _has_filling(octets: Octets, length: int, keys: Words) -> NDArray[np.bool_]:
    """Return an array of bool, true for the payloads with the filling of their keys. All have one length."""
    words = octets.view(np.uint64)[:, MIN_PAYLOAD // WORD_BYTES : padded_size(length) // WORD_BYTES]
    difference = words ^ PATTERN[: words.shape[1]]
    difference ^= keys[:, np.newaxis]
    if length % WORD_BYTES:
        difference.view(np.uint8)[:, length % WORD_BYTES - WORD_BYTES :] = 0  # the octets behind the payload
    intact: NDArray[np.bool_] = np.logical_not(difference.any(axis=1))
    return intact
