"""Observes directories with watchdog. Its threads only wake the supervisor's loop."""

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

from mcrelay.model.os_errors import format_os_error
from mcrelay.supervisor.file_watch.paths import WatchedDirectory

# Reading changes no file, and the supervisor itself reads the files.
_READ_EVENTS = ("opened", "closed_no_write")
_WRITE_EVENTS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type)
    and issubclass(kind, events.FileSystemEvent)
    and kind is not events.DirModifiedEvent  # follows every other event
    and getattr(kind, "event_type", None) not in _READ_EVENTS
]
_LIMITS = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}


class ObserverError(Exception):
    """The directories cannot be observed. The text is the reason."""


class WakeUp:
    """An eventfd(2) that any thread may set, and that the loop polls."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def set(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Make the descriptor unreadable until the next `set`."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass


class FileObserver:
    """Sets `wake_up` when a file that matters changes in one of the directories.

    Raises ObserverError if a directory cannot be observed.
    """

    def __init__(self, directories: Iterable[WatchedDirectory], wake_up: WakeUp) -> None:
        self._open_files: set[str] = set()
        try:
            self._observer: BaseObserver = Observer()
        except OSError as error:
            raise ObserverError(_describe(error)) from error
        try:
            for directory in directories:
                event_filter = _EventFilter(directory, wake_up, self._open_files)
                self._observer.schedule(event_filter, directory.folder, **_write_events_only(self._observer))
            self._observer.start()
        except OSError as error:
            self.close()
            raise ObserverError(_describe(error)) from error

    @property
    def is_alive(self) -> bool:
        """Whether all threads run."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    @property
    def has_open_files(self) -> bool:
        """Whether a process has written to a file and not closed it yet."""
        return bool(self._open_files)

    def close(self) -> None:
        """Let the threads end in the background, which can take them half a second."""
        Thread(target=self._observer.stop, daemon=True).start()


class _EventFilter(events.FileSystemEventHandler):
    """Passes on the events of a directory that matter, and tracks the files that are being written."""

    def __init__(self, directory: WatchedDirectory, wake_up: WakeUp, open_files: set[str]) -> None:
        self._directory = directory
        self._wake_up = wake_up
        self._open_files = open_files

    def dispatch(self, event: events.FileSystemEvent) -> None:
        """Handle an event. A thread of the observer calls this."""
        if event.event_type in _READ_EVENTS or isinstance(event, events.DirModifiedEvent):
            return
        paths = [os.fsdecode(path) for path in (event.src_path, getattr(event, "dest_path", "")) if path]
        if not any(map(self._directory.matters, paths)):
            return
        match event.event_type:
            case "modified":
                self._open_files.update(paths)
            case "closed" | "created" | "moved" | "deleted":
                self._open_files.difference_update(paths)
        self._wake_up.set()


def _write_events_only(observer: BaseObserver) -> dict[str, Any]:
    """Return the argument that requests only events of changes; empty if watchdog is too old for it."""
    has_filter = "event_filter" in inspect.signature(observer.schedule).parameters
    return {"event_filter": _WRITE_EVENTS} if has_filter else {}


def _describe(error: OSError) -> str:
    limit = _LIMITS.get(error.errno or 0)
    hint = f"; raise {limit} with sysctl(8)" if limit else ""
    return f"{format_os_error(error)}{hint}"
