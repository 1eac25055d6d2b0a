"""Counts what arrives at real UDP sockets, without the cost of reading it.

Each socket is bound, has joined its group and has a filter that takes nothing: the receiver's kernel does all
its work on a datagram up to the socket, counts it as dropped there, and no process has to keep pace.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import TracebackType

from mcrelay.cli.endpoint import Endpoint
from mcrelay.cli.listening import allow_many_sockets, dropped, listening
from mcrelay.lab import Host
from mcrelay.linux import filters

WRAP = 1 << 32  # the kernel's counter has 32 bits


class Sinks:
    """One socket for each destination."""

    def __init__(self, host: Host, device: str, destinations: list[Endpoint]) -> None:
        allow_many_sockets()
        self._sockets: list[socket.socket] = []
        self._seen: list[int] = []
        with host.entered():
            for destination in destinations:
                sink = listening(destination, device, [])
                filters.attach(sink, filters.NOTHING)
                self._sockets.append(sink)
        self.reset()

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self._sockets:
            sink.close()

    def reset(self) -> None:
        """Count from zero again."""
        self._seen = [dropped(sink) for sink in self._sockets]

    def count(self) -> int:
        """Return how many datagrams have arrived since `reset`, at all sockets together."""
        return sum(self._counts())

    def all_reached(self) -> bool:
        """Tell whether something has arrived at each socket."""
        return all(self._counts())

    def _counts(self) -> Iterator[int]:
        for sink, seen in zip(self._sockets, self._seen, strict=True):
            yield (dropped(sink) - seen) % WRAP
