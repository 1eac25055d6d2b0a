"""A packet ring as an array: the frames that are ready, and giving them back.

The kernel fills frames in a circle and marks each as ready; the worker reads them where they are and marks
them as free again. Nothing is copied.
"""

from __future__ import annotations

import mmap
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux import socket_filters
from mcrelay.packet.frame import STATUS, TP_STATUS_KERNEL, TP_STATUS_USER

_FREE = TP_STATUS_KERNEL.to_bytes(4, "little")
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/if_packet.h


class Ring:
    """The ring of one packet socket; `head` is the next frame to read.

    It stands in the `bookmark`, too, one number of 64 bits in memory that outlives the worker: a successor
    resumes there. It moves before frames are given back, so that the frame it points at is never one that
    the kernel fills only after all the others.
    """

    def __init__(
        self, ring: socket.socket, frame_size: int, size: int, bookmark: memoryview, resume: bool
    ) -> None:
        self.socket = ring
        self._map = mmap.mmap(ring.fileno(), size)
        self.memory = memoryview(self._map)
        self.frame_size = frame_size
        self.octets: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8).reshape(-1, frame_size)
        self.words = self.octets.view(np.uint32)
        self._status: NDArray[np.uint32] = self.words[:, STATUS]
        self.address = int(self.octets.ctypes.data)
        """Where the first frame lies in memory."""
        self._count = len(self.words)
        self.addresses = self.address + np.arange(self._count, dtype=np.uint64) * np.uint64(frame_size)
        """Where each frame lies; shape (frames,)."""
        self._bookmark = bookmark
        self._go_to(bookmark[0] if resume else 0)
        if resume:
            self._release_leftovers()

    def __len__(self) -> int:
        """Return how many frames there are."""
        return self._count

    def ready(self, most: int) -> int:
        """Return how many frames from `head` on are ready, up to `most` and to the end of the array."""
        is_free = (self._status[self.head : self.head + most] & TP_STATUS_USER) == 0
        first_free = int(is_free.argmax())
        return first_free if is_free[first_free] else len(is_free)

    def is_ready(self, ahead: int) -> bool:
        """Tell whether the frame that many after `head` is ready."""
        at = (self.head + ahead) % self._count * self.frame_size
        return bool(self.memory[at] & TP_STATUS_USER)

    def release_one(self) -> None:
        """Give the first frame back to the kernel."""
        at = self.head * self.frame_size
        self._go_to(self.head + 1)
        self.memory[at : at + 4] = _FREE

    def release(self, count: int) -> None:
        """Give the first `count` frames back to the kernel."""
        first = self.head
        self._go_to(first + count)
        self._status[first : first + count] = TP_STATUS_KERNEL

    def _go_to(self, frame: int) -> None:
        self._bookmark[0] = self.head = frame % self._count

    def _release_leftovers(self) -> None:
        """Give back the frames right before `head` that a killed predecessor was done with.

        In a ring that is full of packets they cannot be told from new ones, and are relayed a second time.
        """
        backwards = (self.head - 1 - np.arange(self._count)) % self._count
        is_free = (self._status[backwards] & TP_STATUS_USER) == 0
        if is_free.any():
            self._status[backwards[: int(is_free.argmax())]] = TP_STATUS_KERNEL

    def overruns(self) -> int:
        """Return how many packets the kernel has dropped since the last call because no frame was free."""
        statistics = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, drops = struct.unpack("=II", statistics)  # struct tpacket_stats
        return int(drops)

    def clear_error(self) -> None:
        """Take the socket's error, such as ENETDOWN of a link that is down: with the link it works again."""
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def admit(self, program: list[socket_filters.Instruction]) -> None:
        """Let the kernel put only those packets into the ring that the filter takes."""
        socket_filters.attach(self.socket, program)

    def close(self) -> None:
        """Close the socket and let go of the memory."""
        self.socket.close()
        # The mapping goes with the last array that looks into it.
        empty: NDArray[Any] = np.empty((0, 1), np.uint32)
        self.words, self._status, self.octets = empty, empty[:, 0], empty.view(np.uint8)
        self.memory.release()
        self._map.close()
