"""Decides when files that another process may be writing are to be read. Time is an argument.

The caller takes stamps of the files (what stat(2) shows), which change with every change of a file. Files are
to be read once their stamps have been equal for `QUIET_S` seconds, or for `OPEN_QUIET_S` while a process has
a file open for writing, and differ from those of the last read. An event of inotify(7) only makes the next
look at the stamps come sooner. A look every `POLL_INTERVAL_S` finds changes without an event, and thereby
tells whether events are missed.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIET_S = 0.25  # without a change until files are read
OPEN_QUIET_S = 5.0  # the same while a file is open for writing
POLL_INTERVAL_S = 5.0  # between two looks without an event
EVENT_DELAY_S = 1.0  # within which the event of a change comes; after that, it was missed


@dataclass(slots=True)
class Debouncer:
    """The stamps of the last look and of the last read, and the time of the next look."""

    due: float
    """When to take stamps next."""
    _last_look: float = float("-inf")
    _stamps: object = None
    _stamps_since: float = 0.0
    _read_stamps: object = None
    _has_event: bool = True  # since the last look
    _has_change_without_event: bool = False

    def record_event(self, now: float) -> None:
        """There was an event at the files or their folders: look at once, but at most every `QUIET_S`."""
        self._has_event, self._has_change_without_event = True, False
        self.due = min(self.due, max(now, self._last_look + QUIET_S))

    def should_read(self, stamps: object, now: float, is_open: bool = False) -> bool:
        """Return whether the files are to be read, whose stamps these are now.

        `is_open`: a process has one of the files open for writing.
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

    def missed_events(self, now: float) -> bool:
        """Return whether the files changed without an event."""
        return self._has_change_without_event and now >= self._stamps_since + EVENT_DELAY_S

    def record_observer_restart(self) -> None:
        """A new observer reports events; an event that the old one missed does not count any more."""
        self._has_event, self._has_change_without_event = True, False
