"""The commands of the reconciler, which the supervisor carries out."""

from __future__ import annotations

from dataclasses import dataclass

from mcrelay.model.actions import SupervisorAction, WorkerAction


@dataclass(frozen=True, slots=True)
class Start:
    """Starts the process of a worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Requests the process of a worker to end."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kills the process of a worker that does not answer."""

    worker: int


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Sends actions to a worker as one batch; the answer of the worker repeats `number`."""

    worker: int
    number: int
    generation: int
    actions: tuple[WorkerAction, ...]


@dataclass(frozen=True, slots=True)
class Perform:
    """Carries out actions in the supervisor itself, which then reports `actions_performed`."""

    actions: tuple[SupervisorAction, ...]


Command = Start | Stop | Kill | SendBatch | Perform
