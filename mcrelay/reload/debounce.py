"""Debounces file changes: decides when to read files that another process may still be writing.

The caller takes stamps of the files (results of stat(2)), which change with every change of a file. The files
are read if their stamps differ from the stamps of the last read and have been equal for `QUIET_S` seconds, or
for `OPEN_QUIET_S` while a process has a file open for writing. An event of inotify(7) only makes the next
look at the stamps earlier. A look every `POLL_INTERVAL_S` finds the changes whose events were missed. Times
are arguments, in seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIET_S = 0.25  # of equal stamps before files are read
OPEN_QUIET_S = 5.0  # the same, while a file is open for writing
POLL_INTERVAL_S = 5.0  # between two looks at the stamps without an event
EVENT_DELAY_S = 1.0  # after a change; an event that has not arrived by then is missed


@dataclass(slots=True)
class Debouncer:
    """Tracks the stamps of the last look and of the last read, and the time of the next look."""

    due: float
    """The time of the next look at the stamps."""
    _last_look: float = float("-inf")
    _stamps: object = None
    _stamps_since: float = 0.0
    _read_stamps: object = None
    _has_event: bool = True  # since the last look
    _has_change_without_event: bool = False

    def record_event(self, now: float) -> None:
        """Record an event at the files or their directories: look at once, but at most every `QUIET_S`."""
        self._has_event, self._has_change_without_event = True, False
        self.due = min(self.due, max(now, self._last_look + QUIET_S))

    def should_read(self, stamps: object, now: float, is_open: bool = False) -> bool:
        """Record the present stamps of the files, and return whether to read the files now.

        `is_open` is True if a process has one of the files open for writing.
        """
        if stamps != self._stamps:
            self._stamps, self._stamps_since = stamps, now
            self._has_change_without_event = not self._has_event
        self._last_look, self._has_event = now, False
        is_new = stamps != self._read_stamps
        is_quiet = now >= self._stamps_since + (OPEN_QUIET_S if is_open else QUIET_S)
        if is_new and is_quiet:
            self._read_stamps = stamps
        self.due = now + (QUIET_S if is_new and not is_quiet else POLL_INTERVAL_S)
        return is_new and is_quiet

    def has_missed_events(self, now: float) -> bool:
        """Return whether the files changed without an event within `EVENT_DELAY_S`."""
        return self._has_change_without_event and now >= self._stamps_since + EVENT_DELAY_S

    def record_observer_restart(self) -> None:
        """Record that a new observer reports events; missed events of the old observer no longer count."""
        self._has_event, self._has_change_without_event = True, False
