"""The life of a process that comes back when it dies, a worker or another. Time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # seconds before it starts again
LONG_LIFE_S = 1.0  # seconds of work after which a death counts as the first one again
TIMEOUT_S = 10.0  # seconds it has for a batch, or to start, or to end


class Phase(Enum):
    """Where a process stands."""

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
    """A process and its successors."""

    phase: Phase = Phase.ABSENT
    restarts: int = 0
    """How often it died."""
    reason: str = ""
    """How it died last."""
    start_not_before: float = 0.0
    deadline: float = 0.0
    _started_at: float = 0.0
    _pause: float = 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether something was asked of it that it has not answered yet."""
        return self.phase in _UNDER_WAY

    @property
    def is_changing(self) -> bool:
        """Whether it will soon forward something else than now."""
        return self.phase in (Phase.STARTING, Phase.BUSY)

    @property
    def activity(self) -> str:
        """What it does, in a word: running, starting, pausing or ending."""
        return _WORDS[self.phase]

    def may_start(self, now: float) -> bool:
        """Tell whether there is no process, and its pause is over."""
        return self.phase is Phase.ABSENT and self.start_not_before <= now

    def is_overdue(self, now: float) -> bool:
        """Tell whether it has had all the patience there is."""
        return self.is_under_way and self.deadline <= now

    def begin(self, phase: Phase, now: float) -> None:
        """Something is asked of the process: to start, to do some work, or to end."""
        self.phase, self.deadline = phase, now + TIMEOUT_S

    def give_up(self, now: float) -> None:
        """It is of no use any more: it is overdue at once."""
        self.phase, self.deadline = Phase.BUSY, now

    def said_hello(self, now: float) -> bool:
        """It said hello; tell whether that was expected."""
        if self.phase is not Phase.STARTING:
            return False
        self.phase, self._started_at = Phase.IDLE, now
        return True

    def answered(self) -> None:
        """The process has answered what was asked of it, and waits for more work."""
        self.phase = Phase.IDLE

    def exited(self, now: float, reason: str = "") -> None:
        """It died, or ended as told. After a death it pauses, longer each time until it lives long."""
        if self.phase is not Phase.ENDING:
            has_lived_long = self.phase is not Phase.STARTING and now - self._started_at >= LONG_LIFE_S
            self._pause = FIRST_PAUSE_S if has_lived_long else self._longer_pause()
            self.start_not_before = now + self._pause
            self.restarts += 1
            self.reason = reason
        self.phase = Phase.ABSENT

    def _longer_pause(self) -> float:
        return min(LONGEST_PAUSE_S, self._pause * 2 or FIRST_PAUSE_S)
