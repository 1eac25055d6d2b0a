"""A map of the kernel as a table of bytes, with single operations and batches (since Linux 5.6)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Iterator, Mapping

from mcrelay.kernel import bpf

# linux/bpf.h
_LOOKUP, _UPDATE, _DELETE = 1, 2, 3
_LOOKUP_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 24, 26, 27
_BATCH = 4096  # entries that are read with a system call
_ELEMENT = struct.Struct("=I4xQQQ")  # map, key, value, flags
_BATCH_ATTRIBUTES = struct.Struct("=4Q2I2Q")  # position before and after, keys, values, count, map, flags
_COUNT = struct.Struct("=32xI")  # the count in these, which the kernel sets
_POSITION_SIZE = 4  # bytes, of a hash map; of an array it is a key, which has as many


class BpfMap:
    """A hash map or an array with keys and values of fixed sizes in bytes. It does not own its descriptor.

    Every operation raises OSError, and ValueError for a key or a value of another size.
    """

    def __init__(self, descriptor: int, key_size: int, value_size: int) -> None:
        self.descriptor = descriptor
        self._key_size = key_size
        self._value_size = value_size
        self.writes = 0
        """The number of entries that were written or deleted here."""

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it has none."""
        value = bytearray(self._value_size)
        return bytes(value) if self._call(_LOOKUP, key, value) else None

    def update(self, key: bytes, value: bytes) -> None:
        """Write an entry. The program finds the old or the new value of a hash map, never a mixture."""
        self._call(_UPDATE, key, _joined([value], self._value_size))
        self.writes += 1

    def delete(self, key: bytes) -> bool:
        """Delete an entry; return whether there was one."""
        was_there = self._call(_DELETE, key, None)
        self.writes += was_there
        return was_there

    def update_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries one after the other. If one fails, those before it are written."""
        keys = _joined(entries.keys(), self._key_size)
        values = _joined(entries.values(), self._value_size)
        written, code = self._batch(_UPDATE_BATCH, len(entries), keys, values)
        self.writes += written
        if code:
            raise OSError(code, os.strerror(code))

    def delete_many(self, keys: Collection[bytes]) -> None:
        """Delete the entries that these keys have."""
        names, done = memoryview(_joined(keys, self._key_size)), 0
        while done < len(keys):
            deleted, code = self._batch(
                _DELETE_BATCH, len(keys) - done, names[done * self._key_size :], bytearray(1)
            )
            self.writes += deleted
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
            done += deleted + (code == errno.ENOENT)  # a batch ends at a key without an entry

    def items(self) -> dict[bytes, bytes]:
        """Return all entries; every key of an array has one."""
        found: dict[bytes, bytes] = {}
        before, after, code = None, bytearray(_POSITION_SIZE), 0
        while not code:
            keys, values = bytearray(_BATCH * self._key_size), bytearray(_BATCH * self._value_size)
            count, code = self._batch(_LOOKUP_BATCH, _BATCH, keys, values, before, after)
            if code not in (0, errno.ENOENT):
                raise OSError(code, os.strerror(code))
            found.update(
                zip(_split(keys, self._key_size, count), _split(values, self._value_size, count), strict=True)
            )
            before = bytearray(after)
        return found

    def _call(self, command: int, key: bytes, value: bytearray | None) -> bool:
        """Return whether the key has an entry."""
        name = _joined([key], self._key_size)
        place = _address(value) if value is not None else 0
        try:
            bpf.call(command, _ELEMENT.pack(self.descriptor, _address(name), place, 0))
        except FileNotFoundError:
            return False
        return True

    def _batch(
        self,
        command: int,
        count: int,
        keys: bytearray | memoryview,
        values: bytearray,
        before: bytearray | None = None,
        after: bytearray | None = None,
    ) -> tuple[int, int]:
        """Return how many entries were done, and the errno that ended the batch, or 0."""
        if not count:
            return 0, 0
        places = [_address(buffer) if buffer else 0 for buffer in (before, after, keys, values)]
        packed = _BATCH_ATTRIBUTES.pack(*places, count, self.descriptor, 0, 0)
        attributes = ctypes.create_string_buffer(packed, len(packed))
        try:
            bpf.call_in_place(command, attributes)
        except OSError as error:
            (done,) = _COUNT.unpack_from(attributes)
            return done % count, error.errno or 0  # the kernel leaves the count as it is if it did nothing
        return int(_COUNT.unpack_from(attributes)[0]), 0


def _address(buffer: bytearray | memoryview) -> int:
    """Return where the bytes of a buffer lie, which must live while the kernel uses them."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _joined(parts: Collection[bytes], size: int) -> bytearray:
    if any(len(part) != size for part in parts):
        raise ValueError(f"a key or a value of this map has {size} bytes")
    return bytearray().join(parts)


def _split(buffer: bytearray, size: int, count: int) -> Iterator[bytes]:
    return (bytes(buffer[first : first + size]) for first in range(0, count * size, size))
