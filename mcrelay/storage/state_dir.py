"""The state directory: the history of accepted configs, the trial, and the content that was rolled back.

If the directory cannot be used, the daemon says why in its log, once, and in its status, and relays without
history and trials.
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

from mcrelay.model.os_errors import format_os_error
from mcrelay.reload.history import Entry, parse_entry
from mcrelay.reload.trial import RolledBackContent, Trial, parse_rolled_back, parse_trial
from mcrelay.storage import json_file
from mcrelay.storage.directories import find_directory, make_directory

log = logging.getLogger("mcrelay")

DEFAULT = Path("/var/lib/mcrelay")
MAX_ENTRIES = 10  # of the history
# Of one file. The configuration has 32 MiB at most, and JSON takes up to 6 bytes for a character.
MAX_FILE_BYTES = 256 << 20
HISTORY, TRIAL, REFUSED, LOCK = "history", "trial.json", "refused.json", "lock"

_NAME = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})\.json")
_Document = TypeVar("_Document")


class StateDirectoryError(Exception):
    """The state directory or one of its files cannot be used. The message has the path and the reason."""


def default() -> Path:
    """Return the state directory that systemd made for the service, or `DEFAULT`."""
    return find_directory("STATE_DIRECTORY", DEFAULT)


def entry_numbers(directory: Path) -> list[int]:
    """Return the numbers of the history entries, the latest last; raises StateDirectoryError."""
    try:
        names = os.listdir(directory / HISTORY)
    except OSError as error:
        raise _unusable(directory / HISTORY, error) from None
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def read_entry(directory: Path, number: int) -> Entry:
    """Return a history entry of a state directory; raises StateDirectoryError."""
    path = _path(directory, number)
    try:
        document = json_file.read(path, MAX_FILE_BYTES)
    except json_file.JsonFileError as error:
        raise StateDirectoryError(f"{path}: {error}") from None
    found = parse_entry(document) if document else None
    if found is None or found.number != number:
        raise StateDirectoryError(
            f"{path}: {'there is no such entry' if document is None else 'it is not an entry'}"
        )
    return found


class StateDirectory:
    """The state directory of this daemon. Only the daemon that holds the lock writes to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problem = ""
        """Why the directory could not be used the last time; empty if it could."""
        self._lock: int | None = None

    def open(self) -> None:
        """Make the directory and take its lock. If that fails, log the reason."""
        try:
            make_directory(self.directory, 0o750)
            make_directory(self.directory / HISTORY, 0o750)
            self._lock = _lock_directory(self.directory)
        except OSError as error:
            self._log_once(_unusable(self.directory, error))
        except StateDirectoryError as error:
            self._log_once(error)
        else:
            self.problem = ""

    def check_usable(self) -> None:
        """Raise StateDirectoryError if this daemon has not locked the directory, and cannot lock it now."""
        if self._lock is None:
            self.open()
        if self._lock is None:
            raise StateDirectoryError(self.problem)

    # The history.

    def add(self, make_entry: Callable[[int], Entry]) -> int | None:
        """Add the entry that `make_entry` returns for its number; return the number, or None on failure."""
        try:
            self.check_usable()
            number = max(self._numbers(), default=0) + 1
            json_file.write(_path(self.directory, number), make_entry(number).as_json())
        except OSError as error:
            self._log_once(_unusable(self.directory / HISTORY, error))
            return None
        except StateDirectoryError as error:
            self._log_once(error)
            return None
        self.problem = ""
        return number

    def confirm(self, number: int) -> None:
        """Mark an entry as confirmed. If that fails, log the reason."""
        try:
            json_file.write(
                _path(self.directory, number), replace(self.entry(number), on_trial=False).as_json()
            )
        except OSError as error:
            self._log_once(_unusable(_path(self.directory, number), error))
        except StateDirectoryError as error:
            self._log_once(error)

    def entry(self, number: int) -> Entry:
        """Return an entry of the history; raises StateDirectoryError."""
        self.check_usable()
        return read_entry(self.directory, number)

    def latest(self) -> Entry | None:
        """Return the latest entry that can be read, or None."""
        for number in reversed(self._numbers()):
            try:
                return self.entry(number)
            except StateDirectoryError as error:
                log.warning("%s", error)
        return None

    def prune(self, needed: int | None) -> None:
        """Remove all entries except the latest `MAX_ENTRIES` and entry `needed`."""
        for number in self._numbers()[:-MAX_ENTRIES]:
            if number != needed:
                self._drop(_path(self.directory, number))

    def _numbers(self) -> list[int]:
        try:
            return entry_numbers(self.directory) if self._lock is not None else []
        except StateDirectoryError as error:
            self._log_once(error)
            return []

    # The trial and the content that was rolled back, for the next start of the daemon.

    def trial(self) -> Trial | None:
        """Return the trial, or None. If it cannot be read, log the reason."""
        return self._read(TRIAL, parse_trial)

    def rolled_back(self) -> RolledBackContent | None:
        """Return the content that was rolled back, or None. If it cannot be read, log the reason."""
        return self._read(REFUSED, parse_rolled_back)

    def write_trial(self, trial: Trial) -> None:
        """Write the trial; raises StateDirectoryError."""
        self._write(TRIAL, trial.as_json())

    def write_rolled_back(self, content: RolledBackContent) -> None:
        """Write the content that was rolled back; raises StateDirectoryError."""
        self._write(REFUSED, content.as_json())

    def remove_trial(self) -> None:
        """Remove the trial; raises StateDirectoryError."""
        self._remove(self.directory / TRIAL)

    def remove_rolled_back(self) -> None:
        """Remove the content that was rolled back. If that fails, log the reason."""
        self._drop(self.directory / REFUSED)

    def _read(self, name: str, parse: Callable[[dict[str, Any]], _Document | None]) -> _Document | None:
        if self._lock is None:
            return None
        path = self.directory / name
        try:
            document = json_file.read(path, MAX_FILE_BYTES)
        except json_file.JsonFileError as error:
            log.warning("%s is ignored: %s", path, error)
            return None
        found = parse(document) if document else None
        if document is not None and found is None:
            log.warning("%s is ignored: another version of mcrelay wrote it", path)
        return found

    def _write(self, name: str, document: dict[str, Any]) -> None:
        self.check_usable()
        try:
            json_file.write(self.directory / name, document)
        except OSError as error:
            raise _unusable(self.directory / name, error) from None

    def _drop(self, path: Path) -> None:
        try:
            self._remove(path)
        except StateDirectoryError as error:
            self._log_once(error)

    def _remove(self, path: Path) -> None:
        if self._lock is None:
            return
        try:
            json_file.remove(path)
        except OSError as error:
            raise _unusable(path, error) from None

    def _log_once(self, why: StateDirectoryError) -> None:
        if str(why) != self.problem:
            self.problem = str(why)
            log.warning("history and trials are disabled: %s", why)


def _lock_directory(directory: Path) -> int:
    """Return a descriptor that holds the lock; raises OSError and StateDirectoryError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(directory / LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateDirectoryError(f"another mcrelay uses {directory}; choose another --state-dir") from None
    return descriptor


def _path(directory: Path, number: int) -> Path:
    return directory / HISTORY / f"{number:06}.json"


def _unusable(path: Path, error: OSError) -> StateDirectoryError:
    return StateDirectoryError(f"{path}: {format_os_error(error)}")
