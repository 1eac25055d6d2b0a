"""A packet ring (packet(7), PACKET_RX_RING) as an array of frames.

The kernel fills the frames in a circle and marks each as ready. The worker reads them in place and marks them
as free again. Nothing is copied.
"""

from __future__ import annotations

import mmap
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.linux import socket_filters
from mcrelay.linux.constants import PACKET_IGNORE_OUTGOING, PACKET_STATISTICS, SOL_PACKET
from mcrelay.packet.frame import STATUS, TP_STATUS_KERNEL, TP_STATUS_USER


class Ring:
    """The ring of one packet socket. `head` is the index of the next frame to read.

    `saved_head` is a copy of `head` in memory that outlives the worker, one number of 64 bits. The next
    worker resumes there. The copy is written before frames are released. Otherwise a worker that dies between
    the two steps would leave `saved_head` at a free frame, which the kernel fills after all other frames.
    """

    def __init__(
        self, ring: socket.socket, frame_size: int, size: int, saved_head: memoryview, resume: bool
    ) -> None:
        self.socket = ring
        self._map = mmap.mmap(ring.fileno(), size)
        self.memory = memoryview(self._map)
        self.frame_size = frame_size
        self.octets: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8).reshape(-1, frame_size)
        self.words = self.octets.view(np.uint32)
        self._status: NDArray[np.uint32] = self.words[:, STATUS]
        self.address = int(self.octets.ctypes.data)
        """Memory address of the first frame."""
        self._count = len(self.words)
        self._frame_words = frame_size // 4
        self._status_words = self.memory.cast("I")
        self.head = 0
        self.addresses = self.address + np.arange(self._count, dtype=np.uint64) * np.uint64(frame_size)
        """Memory address of each frame; shape (frames,)."""
        self._saved_head = saved_head
        self._move_head(saved_head[0] if resume else 0)
        if resume:
            self._release_leftovers()

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def count_ready(self, limit: int) -> int:
        """Return how many frames from `head` on are ready, at most `limit` and up to the end of the array."""
        is_free = (self._status[self.head : self.head + limit] & TP_STATUS_USER) == 0
        first_free = int(is_free.argmax())
        return first_free if is_free[first_free] else len(is_free)

    def is_ready(self, ahead: int) -> bool:
        """Return whether the frame `ahead` frames after `head`, at most the last one, is ready."""
        at = (self.head + min(ahead, self._count - 1)) % self._count * self.frame_size
        return bool(self.memory[at] & TP_STATUS_USER)

    def release_one(self) -> None:
        """Release the frame at `head` to the kernel."""
        frame = self.head
        self._move_head(frame + 1)
        self._status_words[frame * self._frame_words] = TP_STATUS_KERNEL

    def release_few(self, count: int) -> None:
        """Release a few frames from `head` on to the kernel, also across the end of the array."""
        frame = self.head
        self._move_head(frame + count)
        for index in range(frame, frame + count):
            self._status_words[index % self._count * self._frame_words] = TP_STATUS_KERNEL

    def release(self, count: int) -> None:
        """Release `count` frames from `head` on to the kernel."""
        first = self.head
        self._move_head(first + count)
        self._status[first : first + count] = TP_STATUS_KERNEL

    def _move_head(self, frame: int) -> None:
        self._saved_head[0] = self.head = frame % self._count

    def _release_leftovers(self) -> None:
        """Release the frames before `head` that a killed worker had processed but not released.

        If no frame of the ring is free, these frames look like new ones, and are relayed a second time.
        """
        backwards = (self.head - 1 - np.arange(self._count)) % self._count
        is_free = (self._status[backwards] & TP_STATUS_USER) == 0
        if is_free.any():
            self._status[backwards[: int(is_free.argmax())]] = TP_STATUS_KERNEL

    def read_overruns(self) -> int:
        """Return how many packets the kernel dropped since the last call because no frame was free."""
        statistics = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        _, drops = struct.unpack("=II", statistics)  # struct tpacket_stats
        return int(drops)

    def clear_error(self) -> None:
        """Clear the error of the socket, such as ENETDOWN: the socket works again when its link is up."""
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def attach_filter(
        self, program: list[socket_filters.FilterInstruction], takes_outgoing: bool = False
    ) -> None:
        """Let the kernel put only packets that the filter accepts into the ring.

        Unless `takes_outgoing`, the kernel skips packets that this host sends. Needs no capability. A
        filter that the supervisor has locked, that of the kernel data plane, stays.
        """
        try:
            socket_filters.attach(self.socket, program)
        except PermissionError:
            pass
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, not takes_outgoing)

    def close(self) -> None:
        """Close the socket and unmap the memory."""
        self.socket.close()
        # The memory stays mapped while an array refers to it.
        empty: NDArray[Any] = np.empty((0, 1), np.uint32)
        self.words, self._status, self.octets = empty, empty[:, 0], empty.view(np.uint8)
        self._status_words.release()
        self.memory.release()
        self._map.close()
