"""Counters of arriving packets: UDP sockets that no process has to read, or the receiver's device.

Each socket is bound, has joined its group and has a filter that accepts nothing. The receiver's kernel does
all its work on a datagram up to the socket and counts it as dropped there, so no process has to keep up. At
the device, a datagram costs hardly more than on a cable.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from types import TracebackType

from mcrelay.lab import Host
from mcrelay.linux import socket_filters
from mcrelay.linux.descriptor_limit import raise_descriptor_limit
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.sockets import count_drops, open_receiver

WRAP = 1 << 32  # the kernel's counter has 32 bits
HEADERS = 28  # bytes of IP and UDP header


class Sinks:
    """One socket for each destination."""

    pause = 0.005
    """Seconds between two reads of the count."""

    def __init__(self, host: Host, device: str, destinations: list[Endpoint]) -> None:
        raise_descriptor_limit()
        self._sockets: list[socket.socket] = []
        self._seen: list[int] = []
        with host.enter_namespace():
            for destination in destinations:
                sink = open_receiver(destination, device, [])
                socket_filters.attach(sink, socket_filters.NOTHING)
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
        self._seen = [count_drops(sink) for sink in self._sockets]

    def count(self) -> int:
        """Return how many datagrams have arrived since `reset`, at all sockets together."""
        return sum(self._counts())

    def all_reached(self) -> bool:
        """Return whether a datagram has arrived at each socket since `reset`."""
        return all(self._counts())

    def _counts(self) -> Iterator[int]:
        for sink, seen in zip(self._sockets, self._seen, strict=True):
            yield (count_drops(sink) - seen) % WRAP


class DeviceCounter:
    """An nftables rule on a device that counts datagrams to a port and drops them, for a `with` block.

    A device may receive a run of datagrams as one packet, so bytes are counted: `size` is the mean payload of
    a datagram in bytes.
    """

    pause = 0.05

    def __init__(self, host: Host, device: str, port: int, size: float) -> None:
        self._host, self._size = host, size
        chain = f"type filter hook ingress device {device} priority -500"
        host.run(["nft", "add table netdev cable"])
        host.run(["nft", f"add chain netdev cable ingress {{ {chain}; }}"])
        host.run(["nft", f"add rule netdev cable ingress udp dport {port} counter drop"])
        self.reset()

    def __enter__(self) -> DeviceCounter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.run(["nft", "delete table netdev cable"])

    def reset(self) -> None:
        """Count from zero again."""
        self._seen = self._total()

    def count(self) -> int:
        """Return how many datagrams have arrived since `reset`."""
        return round((self._total() - self._seen) / self._size)

    def _total(self) -> int:
        """Return all bytes of payload so far."""
        shown = self._host.run(["nft", "--json", "list", "chain", "netdev", "cable", "ingress"]).stdout
        [rule] = [one["rule"] for one in json.loads(shown)["nftables"] if "rule" in one]
        [counter] = [one["counter"] for one in rule["expr"] if "counter" in one]
        return int(counter["bytes"]) - HEADERS * int(counter["packets"])
