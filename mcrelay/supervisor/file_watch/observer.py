"""Listens to folders with watchdog, which has threads of its own; all they do here is to ring a bell."""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Iterable
from threading import Thread
from typing import Any

from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from mcrelay.supervisor.file_watch.paths import WatchedDirectory

# Whoever reads a file changes nothing, and the supervisor itself reads them.
_READING = ("opened", "closed_no_write")
_WRITING = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type)
    and issubclass(kind, events.FileSystemEvent)
    and kind is not events.DirModifiedEvent  # follows every other event
    and getattr(kind, "event_type", None) not in _READING
]
_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}


class ObserverError(Exception):
    """Nobody can listen there now, and why."""


class Bell:
    """An eventfd(2): any thread may ring it, and the loop polls it."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def ring(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self._descriptor, 1)

    def silence(self) -> None:
        """Make it wait for the next ring."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass


class FileObserver:
    """Rings when something that matters happens in these places. Raises Deaf."""

    def __init__(self, places: Iterable[WatchedDirectory], bell: Bell) -> None:
        self._written: set[str] = set()
        try:
            self._observer: BaseObserver = Observer()
        except OSError as error:
            raise ObserverError(_explained(error)) from error
        try:
            for place in places:
                doorkeeper = _EventFilter(place, bell, self._written)
                self._observer.schedule(doorkeeper, place.folder, **_only_writing(self._observer))
            self._observer.start()
        except OSError as error:
            self.close()
            raise ObserverError(_explained(error)) from error

    @property
    def is_alive(self) -> bool:
        """Whether all its threads run."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    @property
    def hears_writing(self) -> bool:
        """Whether somebody has written to a file, and not closed it yet."""
        return bool(self._written)

    def close(self) -> None:
        """Let the threads end, for which nobody waits: it can take them half a second."""
        Thread(target=self._observer.stop, daemon=True).start()


class _EventFilter(events.FileSystemEventHandler):
    """Lets through what matters of what happens in a place, and knows who is still writing there."""

    def __init__(self, place: WatchedDirectory, bell: Bell, written: set[str]) -> None:
        self._place = place
        self._bell = bell
        self._written = written

    def dispatch(self, event: events.FileSystemEvent) -> None:
        """Something happened: this is called in a thread of the observer."""
        if event.event_type in _READING or isinstance(event, events.DirModifiedEvent):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, getattr(event, "dest_path", "")) if path]
        if not any(map(self._place.matters, paths)):
            return
        match event.event_type:
            case "modified":
                self._written.update(paths)
            case "closed" | "created" | "moved" | "deleted":
                self._written.difference_update(paths)
        self._bell.ring()


def _only_writing(observer: BaseObserver) -> dict[str, Any]:
    """Return how the kernel is asked for news of changes alone, which older versions cannot do."""
    can_filter = "event_filter" in inspect.signature(observer.schedule).parameters
    return {"event_filter": _WRITING} if can_filter else {}


def _explained(error: OSError) -> str:
    limit = _LIMITS.get(error.errno or 0)
    hint = f"; raise {limit} with sysctl(8)" if limit else ""
    return f"{(error.strerror or str(error)).lower()}{hint}"
