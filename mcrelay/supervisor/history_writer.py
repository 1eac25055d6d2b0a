"""Writes each accepted config to the history, and the hash of rolled-back files for the next start."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from mcrelay.config.changes import Changes
from mcrelay.reload.history import Entry
from mcrelay.reload.results import Cause, Outcome
from mcrelay.reload.trial import RolledBackContent
from mcrelay.storage.state_dir import StateDirectory, StateDirectoryError
from mcrelay.supervisor.trials import Trials, Version

log = logging.getLogger("mcrelay")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An accepted version of the config, with its generation, the time (seconds since 1970) and the cause."""

    version: Version
    generation: int
    time: float
    cause: Cause
    outcome: Outcome
    changes: Changes
    reason: str = ""
    """Of a rollback: what was rolled back, and why."""
    is_repeated: bool = False
    """Whether a start repeats the rollback of an earlier daemon."""


class HistoryWriter:
    """Writes the history, and keeps the number of the running config's entry."""

    def __init__(self, state_directory: StateDirectory, trials: Trials) -> None:
        self.running_entry: int | None = None
        """The number of the running config's entry; None if it could not be written."""
        self._state_directory = state_directory
        self._trials = trials

    def record(self, acceptance: Acceptance) -> None:
        """Write an entry, except at a start with the same config as in the latest entry.

        A rollback at a start has an entry, except if the latest entry is of the same rollback.
        """
        is_rollback = acceptance.outcome is Outcome.ROLLED_BACK  # after which a restart must roll back, too
        if not is_rollback:
            self._state_directory.remove_rolled_back()
            self._trials.record_acceptance(acceptance.version.hash)
        latest = self._state_directory.latest() if acceptance.cause is Cause.START else None
        is_in_latest = latest is not None and latest.hash == acceptance.version.hash
        if is_rollback and not (acceptance.is_repeated and latest and latest.outcome == acceptance.outcome):
            is_in_latest = False
        if latest and is_in_latest:
            self.running_entry = latest.number
            return
        self._add(acceptance)
        if not is_rollback:
            trial = self._trials.trial
            self._state_directory.prune(needed=trial.confirmed if trial else None)

    def record_if_missing(self, acceptance: Acceptance) -> None:
        """Write the running config's entry if the write failed when the config was accepted (a full disk)."""
        if self.running_entry is None:
            self._add(acceptance)

    def confirm(self) -> None:
        """Mark the running config's entry as confirmed."""
        if self.running_entry is not None:
            self._state_directory.confirm(self.running_entry)

    def write_rolled_back(self, content_hash: str, confirmed: int) -> None:
        """Write the hash of rolled-back files, so that a restart runs entry `confirmed` of the history."""
        try:
            self._state_directory.write_rolled_back(RolledBackContent(content_hash, confirmed))
        except StateDirectoryError as error:
            log.error(
                "cannot record the rollback: %s; after a restart, the rolled-back files will run", error
            )

    def remove_rolled_back(self) -> None:
        """Delete the hash of rolled-back files, so that a restart runs the files."""
        self._state_directory.remove_rolled_back()

    def prune_after_trial(self) -> None:
        """Remove the oldest entries, which no trial needs now."""
        self._state_directory.prune(needed=None)

    def _add(self, acceptance: Acceptance) -> None:
        self.running_entry = self._state_directory.add(
            partial(_entry, acceptance, self._trials.trial is not None)
        )


def _entry(acceptance: Acceptance, on_trial: bool, number: int) -> Entry:
    return Entry(
        number=number,
        generation=acceptance.generation,
        time=acceptance.time,
        hash=acceptance.version.hash,
        outcome=str(acceptance.outcome),
        cause=str(acceptance.cause),
        on_trial=on_trial,
        changes=acceptance.changes.as_json(),
        reason=acceptance.reason,
        contents=tuple((name, content.decode()) for name, content in acceptance.version.contents),
    )
