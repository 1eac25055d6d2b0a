"""What the supervisor hands to a worker with a batch, and why it cannot."""

from __future__ import annotations

from collections.abc import Mapping


class SupplyError(Exception):
    """Sockets, counter rows or memory cannot be had; `reasons` has the reason by the index of its action."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons
