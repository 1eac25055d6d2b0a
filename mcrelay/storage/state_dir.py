"""The state directory: the last configs that were accepted, the trial that runs, and what was rolled back.

A daemon that cannot use it relays all the same. It says so once, and has neither history nor trials.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mcrelay.reload.history import Entry, entry_of
from mcrelay.reload.trial import RolledBackContent, Trial, refusal_of, trial_of
from mcrelay.storage import json_file

log = logging.getLogger("mcrelay")

DEFAULT = Path("/var/lib/mcrelay")
KEPT = 10  # entries of the history
MOST_OCTETS = 256 << 20  # of an entry: the files have 32 MiB at most, and JSON writes a character in 6 octets
HISTORY, TRIAL, REFUSED, LOCK = "history", "trial.json", "refused.json", "lock"

_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})\.json")
_Told = TypeVar("_Told")


class StateDirectoryError(Exception):
    """The state directory cannot be used, or lacks what it should hold."""


def default() -> Path:
    """Return the directory that systemd made for the service, else the usual one."""
    # systemd separates several with colons; the first is ours.
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or DEFAULT)


def numbers(directory: Path) -> list[int]:
    """Return the numbers of the entries in a state directory, the latest last; raises Unusable."""
    try:
        names = os.listdir(directory / HISTORY)
    except OSError as error:
        raise _unusable(directory / HISTORY, error) from None
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def entry(directory: Path, number: int) -> Entry:
    """Return an entry of the history in a state directory; raises Unusable."""
    path = _path(directory, number)
    try:
        document = json_file.read(path, MOST_OCTETS)
    except json_file.JsonFileError as error:
        raise StateDirectoryError(f"{path}: {error}") from None
    found = entry_of(document) if document else None
    if found is None or found.number != number:
        raise StateDirectoryError(
            f"{path}: {'there is no such entry' if document is None else 'it is no entry'}"
        )
    return found


class StateDirectory:
    """A state directory that this process alone writes, or the reason why it does not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._complaint = ""
        self._lock: int | None = None

    def open(self) -> None:
        """Make the directory, and take it for this process as long as it lives."""
        try:
            self.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            (self.directory / HISTORY).mkdir(mode=0o750, exist_ok=True)
            self._lock = _locked(self.directory)
        except OSError as error:
            self._complain(_unusable(self.directory, error))
        except StateDirectoryError as error:
            self._complain(error)

    def must_be_usable(self) -> None:
        """Raise Unusable where nothing can be kept, with the reason."""
        if self._lock is None:
            raise StateDirectoryError(self._complaint)

    # The history.

    def add(self, made: Callable[[int], Entry]) -> int | None:
        """Add the entry that is `made` of its number, and return that, or None where it cannot be kept."""
        try:
            self.must_be_usable()
            number = max(self._numbers(), default=0) + 1
            json_file.write(_path(self.directory, number), made(number).as_json())
        except OSError as error:
            self._complain(_unusable(self.directory / HISTORY, error))
            return None
        except StateDirectoryError as error:
            self._complain(error)
            return None
        self._complaint = ""
        return number

    def confirm(self, number: int) -> None:
        """An entry is not on trial any more."""
        try:
            json_file.write(
                _path(self.directory, number), replace(self.entry(number), on_trial=False).as_json()
            )
        except OSError as error:
            self._complain(_unusable(_path(self.directory, number), error))
        except StateDirectoryError as error:
            self._complain(error)

    def entry(self, number: int) -> Entry:
        """Return an entry; raises Unusable."""
        self.must_be_usable()
        return entry(self.directory, number)

    def latest(self) -> Entry | None:
        """Return the latest entry, None where there is none that can be read."""
        for number in reversed(self._numbers()):
            try:
                return self.entry(number)
            except StateDirectoryError as error:
                log.warning("%s", error)
        return None

    def prune(self, needed: int | None) -> None:
        """Forget all entries but the latest, and the one that is `needed` besides."""
        for number in self._numbers()[:-KEPT]:
            if number != needed:
                self._drop(_path(self.directory, number))

    def _numbers(self) -> list[int]:
        try:
            return numbers(self.directory) if self._lock is not None else []
        except StateDirectoryError as error:
            self._complain(error)
            return []

    # The trial, and what was rolled back.

    def trial(self) -> Trial | None:
        """Return the trial that a predecessor left."""
        return self._told(TRIAL, trial_of)

    def refusal(self) -> RolledBackContent | None:
        """Return what is not to run again by itself."""
        return self._told(REFUSED, refusal_of)

    def keep_trial(self, trial: Trial) -> None:
        """Let a successor find the trial; raises Unusable."""
        self._keep(TRIAL, trial.as_json())

    def keep_refusal(self, refusal: RolledBackContent) -> None:
        """Let a successor find what was rolled back; raises Unusable."""
        self._keep(REFUSED, refusal.as_json())

    def forget_trial(self) -> None:
        """No successor needs to know of a trial any more; raises Unusable where it will."""
        self._remove(self.directory / TRIAL)

    def forget_refusal(self) -> None:
        """What was rolled back was taken all the same, or is gone."""
        self._drop(self.directory / REFUSED)

    def _told(self, name: str, read: Callable[[dict[str, Any]], _Told | None]) -> _Told | None:
        if self._lock is None:
            return None
        path = self.directory / name
        try:
            document = json_file.read(path, MOST_OCTETS)
        except json_file.JsonFileError as error:
            log.warning("%s is ignored: %s", path, error)
            return None
        told = read(document) if document else None
        if document is not None and told is None:
            log.warning("%s is ignored: it is not of this version of mcrelay", path)
        return told

    def _keep(self, name: str, document: dict[str, Any]) -> None:
        self.must_be_usable()
        try:
            json_file.write(self.directory / name, document)
        except OSError as error:
            raise _unusable(self.directory / name, error) from None

    def _drop(self, path: Path) -> None:
        try:
            self._remove(path)
        except StateDirectoryError as error:
            self._complain(error)

    def _remove(self, path: Path) -> None:
        if self._lock is None:
            return
        try:
            json_file.remove(path)
        except OSError as error:
            raise _unusable(path, error) from None

    def _complain(self, why: StateDirectoryError) -> None:
        if str(why) != self._complaint:
            self._complaint = str(why)
            log.warning("without history and trials: %s", why)


def _locked(directory: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(directory / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateDirectoryError(
            f"{directory} belongs to another mcrelay that runs; give this one another --state-dir"
        ) from None
    return descriptor


def _path(directory: Path, number: int) -> Path:
    return directory / HISTORY / f"{number:06}.json"


def _unusable(path: Path, error: OSError) -> StateDirectoryError:
    return StateDirectoryError(f"{path}: {(error.strerror or str(error)).lower()}")
