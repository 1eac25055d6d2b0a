"""What the reconciler asks of the supervisor."""

from __future__ import annotations

from dataclasses import dataclass

from mcrelay.model.actions import SupervisorAction, WorkerAction


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker's process."""

    worker: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Let a worker's process end."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker's process that does not answer."""

    worker: int


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Send these actions to a worker; it answers with the number."""

    worker: int
    number: int
    generation: int
    actions: tuple[WorkerAction, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry these actions out in the supervisor itself; the answer is `performed`."""

    actions: tuple[SupervisorAction, ...]


Command = Start | Stop | Kill | SendBatch | Perform
