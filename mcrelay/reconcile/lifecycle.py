"""The lifecycle of a process that is restarted when it dies. Times are in seconds of a monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

FIRST_RESTART_DELAY_S = 0.1  # each further delay is twice the previous delay
LONGEST_RESTART_DELAY_S = 10.0
LONG_LIFE_S = 1.0  # a process that ran for this time is restarted after the first delay
TIMEOUT_S = 10.0  # to start, to answer, or to end


class Phase(Enum):
    """A phase in the life of a process."""

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
_UNDER_WAY = (Phase.STARTING, Phase.BUSY, Phase.ENDING)  # phases with a deadline


@dataclass(slots=True)
class Process:
    """A process that is replaced by a new process after each death."""

    phase: Phase = Phase.ABSENT
    restarts: int = 0
    """The number of deaths."""
    reason: str = ""
    """The cause of the last death."""
    start_not_before: float = 0.0
    """The earliest time of the next start."""
    deadline: float = 0.0
    """The time at which a process that is under way becomes overdue."""
    _started_at: float = 0.0
    _delay: float = 0.0

    @property
    def is_under_way(self) -> bool:
        """True if the process is starting, working or ending; each of these phases has a deadline."""
        return self.phase in _UNDER_WAY

    @property
    def is_changing(self) -> bool:
        """True if the process is starting or working, so that its resources are about to change."""
        return self.phase in (Phase.STARTING, Phase.BUSY)

    @property
    def activity(self) -> str:
        """The word for the phase in status documents: running, starting, pausing or ending."""
        return _WORDS[self.phase]

    def may_start(self, now: float) -> bool:
        """Return whether no process exists and the delay before the next start is over."""
        return self.phase is Phase.ABSENT and self.start_not_before <= now

    def is_overdue(self, now: float) -> bool:
        """Return whether the process has missed its deadline."""
        return self.is_under_way and self.deadline <= now

    def begin(self, phase: Phase, now: float) -> None:
        """Enter a phase that has a deadline: STARTING, BUSY or ENDING."""
        self.phase, self.deadline = phase, now + TIMEOUT_S

    def give_up(self, now: float) -> None:
        """Make the process overdue at once, so that it is killed and restarted."""
        self.phase, self.deadline = Phase.BUSY, now

    def record_hello(self, now: float) -> bool:
        """Record the hello of the process; return False if the process was not starting."""
        if self.phase is not Phase.STARTING:
            return False
        self.phase, self._started_at = Phase.IDLE, now
        return True

    def record_answer(self) -> None:
        """Record that the process has finished its work."""
        self.phase = Phase.IDLE

    def record_exit(self, now: float, reason: str = "") -> None:
        """Record the exit of the process. The restart delay doubles until a process lives for LONG_LIFE_S."""
        if self.phase is not Phase.ENDING:
            has_lived_long = self.phase is not Phase.STARTING and now - self._started_at >= LONG_LIFE_S
            self._delay = FIRST_RESTART_DELAY_S if has_lived_long else self._longer_delay()
            self.start_not_before = now + self._delay
            self.restarts += 1
            self.reason = reason
        self.phase = Phase.ABSENT

    def _longer_delay(self) -> float:
        return min(LONGEST_RESTART_DELAY_S, self._delay * 2 or FIRST_RESTART_DELAY_S)
