"""The outputs of `mcrelay trace`: text lines, JSON lines, and captures for Wireshark."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from mcrelay import __version__
from mcrelay.cli.view.units import format_count
from mcrelay.tracing.format import as_comment, as_text
from mcrelay.tracing.pcapng import Capture

Event = dict[str, Any]


class TraceOutput(Protocol):
    """Writes the events of a trace."""

    def show(self, events: Sequence[Event]) -> None:
        """Write the events, and flush."""

    def report_lost(self, count: int) -> None:
        """Report that `count` events are missing at this point."""


class TextOutput:
    """Prints a line of text for each event."""

    def show(self, events: Sequence[Event]) -> None:
        """Print the events."""
        for event in events:
            print(as_text(event, _format_clock(event["time_ns"])))
        sys.stdout.flush()

    def report_lost(self, count: int) -> None:
        """Print the number of missing events."""
        print(f"... {format_count(count, 'event')} lost: more than can be shown", flush=True)


class JsonOutput:
    """Prints a JSON object for each event and each gap, one a line."""

    def show(self, events: Sequence[Event]) -> None:
        """Print the events."""
        _print_objects({"event": "packet", **event} for event in events)

    def report_lost(self, count: int) -> None:
        """Print the number of missing events."""
        _print_objects([{"event": "lost", "count": count}])


class CaptureOutput:
    """Writes the packets as they arrived to a pcapng file, each with its result as a comment."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._capture = Capture(f"mcrelay {__version__}")
        self._write([self._capture.header])

    def show(self, events: Sequence[Event]) -> None:
        """Write the packets of the events."""
        self._write(self._block(event) for event in events)

    def report_lost(self, count: int) -> None:
        """Do nothing: a capture cannot express a gap."""

    def _block(self, event: Event) -> bytes:
        packet = base64.b64decode(event["packet"])
        device = event["device"] or "unknown"
        return self._capture.format_packet(
            device, event["time_ns"], packet, event["length"], as_comment(event)
        )

    def _write(self, blocks: Iterable[bytes]) -> None:
        self._file.write(b"".join(blocks))
        self._file.flush()


@dataclass(slots=True)
class TraceSummary:
    """The counts of all events of a trace: packets, drops by reason, and unsent copies by error."""

    packets: int = 0
    relayed: int = 0
    lost: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)

    def add(self, events: Iterable[Event]) -> None:
        """Add events to the counts."""
        for event in events:
            self.packets += 1
            self.relayed += event["verdict"] == "relayed"
            if event["reason"]:
                self.drops[event["reason"]] += 1
            self.unsent.update(
                output["errno"] or output["result"]
                for output in event["outputs"]
                if output["result"] != "sent"
            )

    def format(self) -> str:
        """Return the counts in one line."""
        parts = [format_count(self.packets, "packet"), f"{self.relayed:,} relayed"]
        parts += [f"{count:,} dropped: {reason}" for reason, count in self.drops.most_common()]
        parts += [f"{_format_copies(count)} not sent: {why}" for why, count in self.unsent.most_common()]
        parts += [f"{format_count(self.lost, 'event')} lost"] if self.lost else []
        return ", ".join(parts)


def _format_copies(count: int) -> str:
    return f"{count:,} {'copy' if count == 1 else 'copies'}"


def _print_objects(objects: Iterable[Event]) -> None:
    sys.stdout.write("".join(json.dumps(document) + "\n" for document in objects))
    sys.stdout.flush()


def _format_clock(nanoseconds: int) -> str:
    """Return the local time of day of a time in nanoseconds since 1970."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{fraction:09}"
