"""Marks: how many reloads have begun, asked of the supervisor by one question at a time for all clients."""

from __future__ import annotations

from collections.abc import Callable

from mcrelay.control.connection import Reply
from mcrelay.protocol.control import Mark

MIN_INTERVAL_S = 0.01  # between two questions, so that no client keeps the supervisor busy


class ReloadMarks:
    """The clients that wait for a mark: those that the question under way answers, and those of the next one.

    `request` sends a message to the supervisor.
    """

    def __init__(self, request: Callable[[Mark], None]) -> None:
        self._request = request
        self._asked: list[Reply] = []
        self._next: list[Reply] = []
        self._number = 0
        self._not_before = 0.0

    def ask(self, reply: Reply, now: float) -> None:
        """Answer with the number of reloads that have begun at a moment after this call."""
        self._next.append(reply)
        self.ask_when_due(now)

    def answered(self, number: int, begun: int, now: float) -> None:
        """The supervisor has answered the question of this number."""
        if number != self._number:
            return
        asked, self._asked = self._asked, []
        for reply in asked:
            reply.result({"begun": begun})
        self.ask_when_due(now)

    @property
    def due(self) -> float | None:
        """When to call `ask_when_due`; None where no question waits for its time."""
        return self._not_before if self._next and not self._asked else None

    def ask_when_due(self, now: float) -> None:
        """Ask the next question when it is time."""
        if self._asked or not self._next or now < self._not_before:
            return
        self._asked, self._next = self._next, []
        self._number += 1
        self._not_before = now + MIN_INTERVAL_S
        self._request(Mark(self._number))
