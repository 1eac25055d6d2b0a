"""The trial that runs, if one does: what is tried, until when, and what comes back."""

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
    """A config, what the files say that ask for it, and a hash of that."""

    config: Config
    hash: str
    contents: config_files.Contents


class Trials:
    """A trial with the config that was confirmed, here and in the state directory."""

    def __init__(self, path: config_files.Name, archive: StateDirectory) -> None:
        self.trial: Trial | None = None
        self.confirmed: Version | None = None
        """What comes back; None where no trial runs."""
        self._path = os.path.abspath(path)
        self._archive = archive

    def found(self, content: str, now: BootTime) -> StartDecision:
        """Return what a start runs whose files have this hash; `confirmed` is there if that needs it."""
        trial, refusal = self._archive.trial(), self._archive.rolled_back()
        found = decide_start(self._path, content, trial, refusal, now)
        if found is StartDecision.FILES:
            self.end()
            return found
        if found is StartDecision.STILL_REFUSED:
            trial = None
        try:
            self.confirmed = self._version(trial.confirmed if trial else refusal.confirmed if refusal else 0)
        except StateDirectoryError as error:
            log.error("what was confirmed cannot come back, and the files are taken as they are: %s", error)
            self.end()
            return StartDecision.FILES
        self.trial = trial
        return found

    def begin(self, running: Config, number: int | None, tried: str, end: BootTime) -> None:
        """Put a content (its hash) on trial: what is `running`, entry `number` of the history, is confirmed.

        Where a trial runs, that is still the one that was confirmed before. Raises Unusable.
        """
        if self.trial is not None:
            trial, confirmed = self.trial.with_end(end), self.confirmed
        elif number is None:
            self._archive.check_usable()
            raise StateDirectoryError("what runs could not be written to the history; the log says why")
        else:
            content, contents = self._contents(number)
            trial = Trial(self._path, tried, end, number, content)
            confirmed = Version(running, content, contents)
        self._archive.keep_trial(trial)
        self.trial, self.confirmed = trial, confirmed

    def accepted(self, tried: str) -> None:
        """What runs now is on trial, too, if a trial runs; if none does, no successor may find one."""
        try:
            if self.trial is None:
                self._archive.forget_trial()
            elif self.trial.hash != tried:
                self.trial = self.trial.with_hash(tried)
                self._archive.keep_trial(self.trial)
        except StateDirectoryError as error:
            log.warning("what a successor finds of a trial is as it was before: %s", error)

    def confirm(self) -> None:
        """What runs is confirmed; raises Unusable where a successor would go back all the same."""
        self._archive.forget_trial()
        self.trial = self.confirmed = None

    def end(self) -> None:
        """The trial is over."""
        self.trial = self.confirmed = None
        try:
            self._archive.forget_trial()
        except StateDirectoryError as error:
            log.warning("a restart would end the trial once more: %s", error)

    def left(self, now: BootTime) -> float | None:
        """Return the seconds that are left, None where no trial runs."""
        return None if self.trial is None else self.trial.left(now)

    def as_json(self, generation: int) -> dict[str, Any] | None:
        """Return what clients see of the trial, which is that of this generation."""
        if self.trial is None:
            return None
        return {
            "generation": generation,
            "hash": self.trial.hash,
            "until": self.trial.end.time,
            "confirmed": self.trial.confirmed_hash,
        }

    def _version(self, number: int) -> Version:
        """Return what an entry of the history says; raises Unusable."""
        content, contents = self._contents(number)
        try:
            return Version(config_files.compile_contents(contents), content, contents)
        except ConfigError as invalid:
            why = invalid.problems[0]
            raise StateDirectoryError(f"entry {number} of the history is no config any more: {why}") from None

    def _contents(self, number: int) -> tuple[str, config_files.Contents]:
        """Return the hash of what the files said in an entry of the history, and that; raises Unusable."""
        entry = self._archive.entry(number)
        try:
            contents = [(name, text.encode()) for name, text in entry.contents]
            is_whole = config_files.digest(contents) == entry.hash
        except UnicodeEncodeError:
            is_whole = False
        if not is_whole:
            raise StateDirectoryError(f"entry {number} of the history was changed by somebody")
        return entry.hash, contents
