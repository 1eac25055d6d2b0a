"""When files that somebody may be writing are to be read. Time is an argument.

Stamps stand for the files: whatever changes a file changes its stamp, and taking one reads nothing. Files
are quiet once their stamps have been the same for a while, a longer one where somebody is known to have one
open still. If they are then other than those read last, they are to be read. News of a change makes the next
look come sooner, and nothing depends on it: there is a look now and then regardless, which also tells whether
news come at all.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIET = 0.25  # seconds without a change until files are read
STALLED = 5.0  # seconds without a change until a file is read that is still open for writing
REGARDLESS = 5.0  # seconds between two looks where nothing is heard
DELAY = 1.0  # seconds within which news of a change come, or never


@dataclass(slots=True)
class Debouncer:
    """What was seen of the files, and when to look again."""

    due: float
    """When to take the stamps."""
    _looked: float = float("-inf")
    _seen: object = None
    _since: float = 0.0
    _read: object = None
    _is_announced: bool = True  # whether there was news since the last look
    _is_surprising: bool = False  # whether the last change was seen without any news of it

    def event_seen(self, now: float) -> None:
        """Something happened where the files are: look at once, but not all the time."""
        self._is_announced, self._is_surprising = True, False
        self.due = min(self.due, max(now, self._looked + QUIET))

    def looked(self, stamps: object, now: float, is_open: bool = False) -> bool:
        """These are the stamps now, and somebody may write still; tell whether the files are to be read."""
        if stamps != self._seen:
            self._seen, self._since = stamps, now
            self._is_surprising = not self._is_announced
        self._looked, self._is_announced = now, False
        is_new, is_quiet = stamps != self._read, now >= self._since + (STALLED if is_open else QUIET)
        if is_new and is_quiet:
            self._read = stamps
        self.due = now + (QUIET if is_new and not is_quiet else REGARDLESS)
        return is_new and is_quiet

    def missed_events(self, now: float) -> bool:
        """Tell whether the files changed, and no news of it came."""
        return self._is_surprising and now >= self._since + DELAY

    def listens_anew(self) -> None:
        """News come from elsewhere now: what was missed before tells nothing about it."""
        self._is_announced, self._is_surprising = True, False
