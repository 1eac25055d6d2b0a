"""Tells when the configuration's files were changed and are quiet again."""

from __future__ import annotations

import logging
import time

from mcrelay.reload.debounce import POLL_INTERVAL_S, Debouncer
from mcrelay.storage import config_files
from mcrelay.supervisor.file_watch.observer import Bell, FileObserver, ObserverError
from mcrelay.supervisor.file_watch.paths import WatchedDirectory, watched_directories

log = logging.getLogger("mcrelay")


class Watcher:
    """Watches a file, its drop-ins and all links on the way to them, while it is switched on."""

    def __init__(self, path: config_files.Name) -> None:
        self._path = path
        self._bell = Bell()
        self._ear: FileObserver | None = None
        self._places: tuple[WatchedDirectory, ...] = ()
        self._quiet: Debouncer | None = None
        self._complaint = ""

    def fileno(self) -> int:
        """Return the descriptor to poll; when it is readable, call `event_seen`."""
        return self._bell.fileno()

    @property
    def due(self) -> float | None:
        """When to look, None while it is switched off."""
        return self._quiet.due if self._quiet else None

    def switch(self, on: bool) -> None:
        """Watch from now on, or no longer."""
        if on and self._quiet is None:
            self._quiet = Debouncer(due=time.monotonic())
        elif not on and self._quiet is not None:
            self._quiet = None
            self._replace(None, ())

    def event_seen(self) -> None:
        """The bell rang."""
        self._bell.silence()
        if self._quiet:
            self._quiet.event_seen(time.monotonic())

    def look(self) -> config_files.Stamps | None:
        """Return the stamps of the files if they are other than before and quiet now: time to read them."""
        if self._quiet is None:
            return None
        # Listening begins before the stamps are taken, so that no change falls between the two.
        self._listen(self._quiet)
        stamps = config_files.read_stamps(self._path)
        is_open = self._ear is not None and self._ear.hears_writing
        return stamps if self._quiet.stamps_taken(stamps, time.monotonic(), is_open) else None

    def _listen(self, quiet: Debouncer) -> None:
        """Listen where the files are now, which may be elsewhere than before."""
        where = watched_directories(self._path)
        if self._ear is None or where != self._places or self._is_broken(self._ear, quiet):
            quiet.observer_restarted()
            try:
                self._replace(FileObserver(where, self._bell), where)
            except ObserverError as deaf:
                self._replace(None, ())
                self._complain(str(deaf))

    def _is_broken(self, ear: FileObserver, quiet: Debouncer) -> bool:
        if not ear.is_alive:
            log.warning("what listened for changes of the files has died; it is made anew")
            return True
        if quiet.missed_events(time.monotonic()):
            log.info("the files changed, and no news of it came; listening anew")
            return True
        return False

    def _replace(self, ear: FileObserver | None, where: tuple[WatchedDirectory, ...]) -> None:
        if self._ear:
            self._ear.close()
        if ear and self._complaint:
            log.info("listening for changes of the files again")
            self._complaint = ""
        self._ear, self._places = ear, where

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            log.warning("changes of the files are seen late, every %g s: %s", POLL_INTERVAL_S, why)
            self._complaint = why
