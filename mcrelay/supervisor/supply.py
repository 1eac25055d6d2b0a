"""The sockets and memory that a worker gets with a batch, and the error if they are not available."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketSupply:
    """The sockets for a batch, in the order of its actions, and the indexes of rings that were in use."""

    sockets: tuple[socket.socket, ...]
    resumed: frozenset[int]


class SupplyError(Exception):
    """Sockets, counter rows or memory are not available. `reasons` has the reason by index of its action."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons
