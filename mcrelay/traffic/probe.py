"""The payload of `mcrelay send`: numbered, time-stamped, and verifiable to its last octet.

    octets   0  4     8     12     16        24    32                    size
             +--+-----+-----+------+---------+-----+----------------------+
             mark size  flow  check  sequence  time  filling
             +--+-----+-----+------+---------+-----+----------------------+

All numbers are in network byte order. `time` is the time of sending, in nanoseconds since 1970. `check`
covers every other number, and the filling is computed from size, flow and sequence: any octet that was
changed, cut off or taken from another packet is detected.
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
MAX_PAYLOAD = 65507  # octets: the 65535 of an IPv4 packet less the headers of IP and UDP
MAX_SEQUENCE = 2**63 - 1  # so that a sequence number fits a signed column

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: steps that fill 64 bits evenly


def padded_size(size: int) -> int:
    """Return `size` rounded up to whole words: the octets of a row that holds a payload."""
    return -(-size // WORD_BYTES) * WORD_BYTES


def _mix(numbers: Words) -> Words:
    """Hash each number, so that each bit depends on every bit of the input (finalizer of SplitMix64)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# The filling of a packet is this pattern, of which no two words are equal, XOR the key of the packet.
PATTERN = _mix(np.arange(1, padded_size(MAX_PAYLOAD) // WORD_BYTES + 1, dtype=np.uint64) * GOLDEN)


def _keys(size: Integers | int, flow: Integers, sequence: Integers) -> Words:
    """Return a key for each packet, hashed from size, flow and sequence; shape (n,), dtype uint64."""
    base = flow.astype(np.uint64) << np.uint64(32) | np.asarray(size).astype(np.uint64)
    return _mix(base + sequence.astype(np.uint64) * GOLDEN)


def _check(keys: Words, time: Words) -> Words:
    """Return the check of each header: the upper 32 bits of a hash of key and time."""
    return ((keys ^ time) * GOLDEN) >> np.uint64(32)


class ProbePayloads:
    """A buffer for payloads of one size, which are filled many at a time and stamped when they are sent.

    `octets` has a row for each payload (uint8, shape (rows, padded_size(size))); its first `size` are sent.
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
        """Make every row the payload of a flow and a sequence number; both have shape (rows,)."""
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

    `ours` (bool): the payload has the mark. `known` (bool): its header is unchanged, so that `flow`,
    `sequence` and `time` (int64) are valid. `intact` (bool): its filling is unchanged, too.
    """

    ours: NDArray[np.bool_]
    known: NDArray[np.bool_]
    intact: NDArray[np.bool_]
    flow: NDArray[np.int64]
    sequence: NDArray[np.int64]
    time: NDArray[np.int64]


def check_payloads(octets: Octets, lengths: Integers) -> ProbeChecks:
    """Check the payloads in the rows of `octets`, which are `lengths` octets long.

    `octets` has shape (n, width), its width a multiple of 8 and no less than MIN_PAYLOAD. What
    follows the payload in its row is ignored.
    """
    # Copied first, so that each row is read once instead of once for each of the six columns.
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
    """Return which of the `known` payloads have an unchanged filling."""
    if known.all() and (lengths == lengths[:1]).all():  # the usual case, in which no payload is copied
        return _has_filling(octets, int(lengths[0]), keys) if len(lengths) else known
    intact = known.copy()
    for length in np.unique(lengths[known]):
        rows = np.flatnonzero(known & (lengths == length))
        intact[rows] = _has_filling(octets[rows, : padded_size(int(length))], int(length), keys[rows])
    return intact


def _has_filling(octets: Octets, length: int, keys: Words) -> NDArray[np.bool_]:
    """Return which payloads of one length have the filling of their keys."""
    words = octets.view(np.uint64)[:, MIN_PAYLOAD // WORD_BYTES : padded_size(length) // WORD_BYTES]
    difference = words ^ PATTERN[: words.shape[1]]
    difference ^= keys[:, np.newaxis]
    if length % WORD_BYTES:
        difference.view(np.uint8)[:, length % WORD_BYTES - WORD_BYTES :] = 0  # behind the last octet
    intact: NDArray[np.bool_] = np.logical_not(difference.any(axis=1))
    return intact
