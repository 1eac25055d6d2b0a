"""The commands of the reconciler, which the supervisor carries out."""

from __future__ import annotations

from dataclasses import dataclass

from mcrelay.model.actions import SupervisorAction, WorkerAction


@dataclass(frozen=True, slots=True)
class Start:
    """Start the process of a worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the process of a worker to end."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the process of a worker that does not answer."""

    worker: int


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Send actions to a worker as one batch, whose number the worker's answer repeats."""

    worker: int
    number: int
    generation: int
    actions: tuple[WorkerAction, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out actions in the supervisor itself, then report `actions_performed`."""

    actions: tuple[SupervisorAction, ...]


Command = Start | Stop | Kill | SendBatch | Perform
