"""Reports that the configuration files have changed, once no process writes them."""

from __future__ import annotations

import logging
import time

from mcrelay.reload.debounce import POLL_INTERVAL_S, Debouncer
from mcrelay.storage import config_files
from mcrelay.supervisor.file_watch.observer import FileObserver, ObserverError, WakeUp
from mcrelay.supervisor.file_watch.paths import WatchedDirectory, watched_directories

log = logging.getLogger("mcrelay")


class Watcher:
    """Watches a file, its drop-ins and all symbolic links that lead to them, while the watcher is on."""

    def __init__(self, path: config_files.Name) -> None:
        self._path = path
        self._wake_up = WakeUp()
        self._observer: FileObserver | None = None
        self._directories: tuple[WatchedDirectory, ...] = ()
        self._debouncer: Debouncer | None = None
        self._last_warning = ""

    def fileno(self) -> int:
        """Return the descriptor to poll. When it is readable, `record_event` must be called."""
        return self._wake_up.fileno()

    @property
    def due(self) -> float | None:
        """The time of the next `check`, in seconds of the monotonic clock; None while the watcher is off."""
        return self._debouncer.due if self._debouncer else None

    def switch(self, on: bool) -> None:
        """Switch the watcher on or off."""
        if on and self._debouncer is None:
            self._debouncer = Debouncer(due=time.monotonic())
        elif not on and self._debouncer is not None:
            self._debouncer = None
            self._replace_observer(None, ())

    def record_event(self) -> None:
        """Record an event of the observer, so that `due` becomes earlier."""
        self._wake_up.clear()
        if self._debouncer:
            self._debouncer.record_event(time.monotonic())

    def check(self) -> config_files.Stamps | None:
        """Return the stamps of the files if the files have changed and it is time to read them."""
        if self._debouncer is None:
            return None
        # The observer starts before the stamps are taken, so that no change falls between the two.
        self._observe(self._debouncer)
        stamps = config_files.read_stamps(self._path)
        is_open = self._observer is not None and self._observer.has_open_files
        return stamps if self._debouncer.should_read(stamps, time.monotonic(), is_open) else None

    def _observe(self, debouncer: Debouncer) -> None:
        """Observe the directories of the files, which may have changed."""
        directories = watched_directories(self._path)
        if (
            self._observer is None
            or directories != self._directories
            or self._is_broken(self._observer, debouncer)
        ):
            debouncer.record_observer_restart()
            try:
                self._replace_observer(FileObserver(directories, self._wake_up), directories)
            except ObserverError as error:
                self._replace_observer(None, ())
                self._warn_once(str(error))

    def _is_broken(self, observer: FileObserver, debouncer: Debouncer) -> bool:
        if not observer.is_alive:
            log.warning("the thread that watches the files has died; starting a new one")
            return True
        if debouncer.has_missed_events(time.monotonic()):
            log.info("the files changed without an inotify event; watching them anew")
            return True
        return False

    def _replace_observer(
        self, observer: FileObserver | None, directories: tuple[WatchedDirectory, ...]
    ) -> None:
        if self._observer:
            self._observer.close()
        if observer and self._last_warning:
            log.info("watching the files again")
            self._last_warning = ""
        self._observer, self._directories = observer, directories

    def _warn_once(self, reason: str) -> None:
        if reason != self._last_warning:
            log.warning("cannot watch the files; checking them every %g s: %s", POLL_INTERVAL_S, reason)
            self._last_warning = reason
