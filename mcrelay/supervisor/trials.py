"""The trial of a config, which ends at a deadline with the confirmed config unless an operator confirms."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError
from mcrelay.reload.trial import BootTime, StartDecision, Trial, decide_start
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import StateDirectory, StateDirectoryError

log = logging.getLogger("mcrelay")


@dataclass(frozen=True, slots=True)
class Version:
    """A config, and the contents of the files that it was compiled from, with their hash."""

    config: Config
    hash: str
    contents: config_files.Contents


class Trials:
    """Holds the running trial, if any. A copy in the state directory lets a restart continue the trial."""

    def __init__(self, path: config_files.Name, state_directory: StateDirectory) -> None:
        self.trial: Trial | None = None
        self.confirmed: Version | None = None
        """The config that is restored at the end of the trial; None if no trial runs."""
        self._path = os.path.abspath(path)
        self._state_directory = state_directory

    def decide_start(self, content_hash: str, now: BootTime) -> StartDecision:
        """Return what a start runs, given the hash of the files. Load the trial and `confirmed` if needed."""
        trial, refusal = self._state_directory.trial(), self._state_directory.rolled_back()
        decision = decide_start(self._path, content_hash, trial, refusal, now)
        if decision is StartDecision.FILES:
            self.end()
            return decision
        if decision is StartDecision.STILL_REFUSED:
            trial = None
        number = trial.confirmed if trial else refusal.confirmed if refusal else 0
        try:
            self.confirmed = self._version(number)
        except StateDirectoryError as error:
            log.error("cannot restore the confirmed configuration: %s; applying the files", error)
            self.end()
            return StartDecision.FILES
        self.trial = trial
        return decision

    def begin(self, running: Config, number: int | None, tried_hash: str, end: BootTime) -> None:
        """Put the files of hash `tried_hash` on trial until `end`.

        The `running` config, entry `number` of the history, becomes the confirmed one. If a trial runs
        already, its confirmed config stays, and its end becomes `end`. Raises StateDirectoryError if the
        trial cannot be written, or if the history has no entry of the running config.
        """
        if self.trial is not None:
            trial, confirmed = self.trial.with_end(end), self.confirmed
        elif number is None:
            self._state_directory.check_usable()
            raise StateDirectoryError(
                "the running configuration could not be written to the history; see the log"
            )
        else:
            content_hash, contents = self._contents(number)
            trial = Trial(self._path, tried_hash, end, number, content_hash)
            confirmed = Version(running, content_hash, contents)
        self._state_directory.write_trial(trial)
        self.trial, self.confirmed = trial, confirmed

    def record_acceptance(self, content_hash: str) -> None:
        """Record that a config with this hash was accepted.

        A running trial continues with it; if no trial runs, the trial file is deleted.
        """
        try:
            if self.trial is None:
                self._state_directory.remove_trial()
            elif self.trial.hash != content_hash:
                self.trial = self.trial.with_hash(content_hash)
                self._state_directory.write_trial(self.trial)
        except StateDirectoryError as error:
            log.warning("cannot update the trial file: %s; a restart will read the old one", error)

    def confirm(self) -> None:
        """End the trial in favor of the running config.

        Raises StateDirectoryError if the trial file cannot be deleted: a restart would still roll back.
        """
        self._state_directory.remove_trial()
        self.trial = self.confirmed = None

    def end(self) -> None:
        """Forget the trial, and delete its file."""
        self.trial = self.confirmed = None
        try:
            self._state_directory.remove_trial()
        except StateDirectoryError as error:
            log.warning("cannot delete the trial file: %s; after a restart, the trial will end again", error)

    def seconds_left(self, now: BootTime) -> float | None:
        """Return the seconds until the end of the trial, None if no trial runs."""
        return None if self.trial is None else self.trial.left(now)

    def as_json(self, generation: int) -> dict[str, Any] | None:
        """Return the trial as clients see it, None if no trial runs; `generation` is the running one."""
        if self.trial is None:
            return None
        return {
            "generation": generation,
            "hash": self.trial.hash,
            "until": self.trial.end.time,
            "confirmed": self.trial.confirmed_hash,
        }

    def _version(self, number: int) -> Version:
        """Return the version in an entry of the history; raises StateDirectoryError."""
        content_hash, contents = self._contents(number)
        try:
            return Version(config_files.compile_contents(contents), content_hash, contents)
        except ConfigError as error:
            problem = error.problems[0]
            raise StateDirectoryError(
                f"entry {number} of the history is not a valid configuration: {problem}"
            ) from None

    def _contents(self, number: int) -> tuple[str, config_files.Contents]:
        """Return the hash and the contents of the files in an entry of the history.

        Raises StateDirectoryError if the entry cannot be read, or if its hash does not match its contents.
        """
        entry = self._state_directory.entry(number)
        try:
            contents = [(name, text.encode()) for name, text in entry.contents]
            is_intact = config_files.digest(contents) == entry.hash
        except UnicodeEncodeError:
            is_intact = False
        if not is_intact:
            raise StateDirectoryError(f"entry {number} of the history was changed after it was written")
        return entry.hash, contents
