"""Asks the supervisor how many reloads have begun, one question at a time however many want to know."""

from __future__ import annotations

from collections.abc import Callable

from mcrelay.control.connection import Reply
from mcrelay.protocol.control import Mark, ToSupervisor

SPACING = 0.01  # seconds between two questions, so that no client keeps the supervisor busy


class ReloadMarks:
    """The clients that wait for a mark: those of the question that was asked, and of the next one."""

    def __init__(self, tell: Callable[[ToSupervisor], None]) -> None:
        self._tell = tell
        self._asked: list[Reply] = []
        self._next: list[Reply] = []
        self._number = 0
        self._not_before = 0.0

    def ask(self, reply: Reply, now: float) -> None:
        """Answer with the number of reloads that have begun: the supervisor says it after this moment."""
        self._next.append(reply)
        self.carry_on(now)

    def answered(self, mark: int, begun: int, now: float) -> None:
        """The supervisor has answered a question."""
        if mark != self._number:
            return
        asked, self._asked = self._asked, []
        for reply in asked:
            reply.result({"begun": begun})
        self.carry_on(now)

    @property
    def due(self) -> float | None:
        """When `carry_on` is to be called, if at all."""
        return self._not_before if self._next and not self._asked else None

    def carry_on(self, now: float) -> None:
        """Ask the next question, when it is time."""
        if self._asked or not self._next or now < self._not_before:
            return
        self._asked, self._next = self._next, []
        self._number += 1
        self._not_before = now + SPACING
        self._tell(Mark(self._number))
