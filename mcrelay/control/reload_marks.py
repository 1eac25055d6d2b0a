"""Marks: the number of reloads that have begun, which the supervisor gives in one answer for all clients."""

from __future__ import annotations

from collections.abc import Callable

from mcrelay.control.connection import Reply
from mcrelay.protocol.control import Mark

MIN_INTERVAL_S = 0.01  # between two requests, so that no client keeps the supervisor busy


class ReloadMarks:
    """The clients that wait for a mark: those of the request under way, and those of the next request.

    `send` sends a message to the supervisor.
    """

    def __init__(self, send: Callable[[Mark], None]) -> None:
        self._send = send
        self._pending: list[Reply] = []
        self._next: list[Reply] = []
        self._number = 0
        self._not_before = 0.0

    def ask(self, reply: Reply, now: float) -> None:
        """Answer with the number of reloads that have begun at a moment after this call."""
        self._next.append(reply)
        self.ask_when_due(now)

    def answered(self, number: int, begun: int, now: float) -> None:
        """The supervisor has answered the request of this number."""
        if number != self._number:
            return
        pending, self._pending = self._pending, []
        for reply in pending:
            reply.result({"begun": begun})
        self.ask_when_due(now)

    @property
    def due(self) -> float | None:
        """When to call `ask_when_due`; None where no request has to wait for its time."""
        return self._not_before if self._next and not self._pending else None

    def ask_when_due(self, now: float) -> None:
        """Send the next request if it is due."""
        if self._pending or not self._next or now < self._not_before:
            return
        self._pending, self._next = self._next, []
        self._number += 1
        self._not_before = now + MIN_INTERVAL_S
        self._send(Mark(self._number))
