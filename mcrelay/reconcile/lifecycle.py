"""The lifecycle of a process that is restarted when it dies. Times are seconds of a monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

FIRST_RESTART_DELAY_S, LONGEST_RESTART_DELAY_S = 0.1, 10.0  # before a restart
LONG_LIFE_S = 1.0  # a process that worked for so long begins again with the first pause
TIMEOUT_S = 10.0  # to start, to answer, or to end


class Phase(Enum):
    """What a process does at the moment."""

    ABSENT = auto()
    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    ENDING = auto()


_WORDS = {
    Phase.ABSENT: "pausing",
    Phase.STARTING: "starting",
    Phase.IDLE: "running",
    Phase.BUSY: "running",
    Phase.ENDING: "ending",
}
_UNDER_WAY = (Phase.STARTING, Phase.BUSY, Phase.ENDING)  # phases that end with an event, or are overdue


@dataclass(slots=True)
class Process:
    """A process and, after each of its deaths, its successor."""

    phase: Phase = Phase.ABSENT
    restarts: int = 0
    """How often the process died."""
    reason: str = ""
    """How the process died last."""
    start_not_before: float = 0.0
    """When the pause before the next start is over."""
    deadline: float = 0.0
    """When a process that is under way is overdue."""
    _started_at: float = 0.0
    _pause: float = 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether the process is starting, working or ending, for which it has a deadline."""
        return self.phase in _UNDER_WAY

    @property
    def is_changing(self) -> bool:
        """Whether the process is starting or working, so that what it does is about to change."""
        return self.phase in (Phase.STARTING, Phase.BUSY)

    @property
    def activity(self) -> str:
        """What the process does, in a word: running, starting, pausing or ending."""
        return _WORDS[self.phase]

    def may_start(self, now: float) -> bool:
        """Return whether there is no process, and the pause before its start is over."""
        return self.phase is Phase.ABSENT and self.start_not_before <= now

    def is_overdue(self, now: float) -> bool:
        """Return whether the process has missed its deadline."""
        return self.is_under_way and self.deadline <= now

    def begin(self, phase: Phase, now: float) -> None:
        """Enter a phase that has a deadline: STARTING, BUSY or ENDING."""
        self.phase, self.deadline = phase, now + TIMEOUT_S

    def give_up(self, now: float) -> None:
        """Make the process overdue at once, because it is of no more use."""
        self.phase, self.deadline = Phase.BUSY, now

    def record_hello(self, now: float) -> bool:
        """The process said hello; return whether it was starting, as it should be."""
        if self.phase is not Phase.STARTING:
            return False
        self.phase, self._started_at = Phase.IDLE, now
        return True

    def record_answer(self) -> None:
        """The process has done its work, and waits for more."""
        self.phase = Phase.IDLE

    def record_exit(self, now: float, reason: str = "") -> None:
        """The process died, or ended as it should. Pauses after deaths double until a process lives long."""
        if self.phase is not Phase.ENDING:
            has_lived_long = self.phase is not Phase.STARTING and now - self._started_at >= LONG_LIFE_S
            self._pause = FIRST_RESTART_DELAY_S if has_lived_long else self._longer_pause()
            self.start_not_before = now + self._pause
            self.restarts += 1
            self.reason = reason
        self.phase = Phase.ABSENT

    def _longer_pause(self) -> float:
        return min(LONGEST_RESTART_DELAY_S, self._pause * 2 or FIRST_RESTART_DELAY_S)
