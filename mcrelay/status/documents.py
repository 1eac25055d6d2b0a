"""What clients are shown: the documents of `status`, `list` and `stats`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mcrelay.linux.process_usage import Usages
from mcrelay.protocol.jsonrpc import Json
from mcrelay.status.ages import Ages
from mcrelay.status.entries import interface_stats, interface_text, rule_stats, rule_text
from mcrelay.status.rates import Counts
from mcrelay.status.replica import SnapshotReplica
from mcrelay.status.template import text

SHAPE = 1  # version of the documents
TOGETHER = 500  # rules in a piece
FRESH = 0.05  # seconds that a document serves all who ask for it

Pieces = tuple[bytes, ...]
"""A document in pieces, so that what many clients get lies in memory once."""

_SHOWN_OF_RELOAD = ("at", "outcome", "generation", "changes", "problems", "lines")
_NOT_OF_THE_FILES = ("confirmed", "refused")


@dataclass(frozen=True, slots=True)
class Now:
    """A moment by both clocks, in seconds: the monotonic one, and the time of day."""

    monotonic: float
    time: float


class View:
    """The documents, of what the supervisor has told and the workers have counted."""

    def __init__(self, known: SnapshotReplica, counts: Counts, usages: Usages) -> None:
        self._known = known
        self._counts = counts
        self._usages = usages
        self._ages = Ages()
        self._kept: dict[str, tuple[float, Pieces]] = {}

    def change(self, sections: Mapping[str, Any], now: Now) -> None:
        """Something is other than before: the next document shows it."""
        self._known.change(sections, now.monotonic)
        self._kept.clear()

    def sample(self, now: Now) -> None:
        """Remember how things stand, for the rates of the next seconds; documents are out of date by now."""
        self._counts.sample(now.monotonic)
        self._ages.sample(now.time)
        processes = self._known.section("processes").values()
        self._usages.sample((process["pid"] for process in processes if process["pid"]), now.monotonic)
        self._kept.clear()

    def status(self, rule: str | None, now: Now) -> Pieces:
        """Return the whole document, or that of one rule and all that is none."""
        if rule is None:
            return self._fresh("status", now, lambda: self._status(self._known.rules, now))
        return self._status((rule,), now)

    def stats(self, rule: str | None, now: Now) -> Pieces:
        """Return the counts of all rules, or of one, and of the interfaces."""
        if rule is None:
            return self._fresh("stats", now, lambda: self._stats(self._known.rules, now))
        return self._stats((rule,), now)

    def list(self, now: Now) -> Pieces:
        """Return all rules with their states."""
        return self._fresh("list", now, self._list)

    def _fresh(self, name: str, now: Now, build: Callable[[], Pieces]) -> Pieces:
        built, pieces = self._kept.get(name, (-FRESH, ()))
        if not pieces or now.monotonic - built > FRESH:
            pieces = build()
            self._kept[name] = now.monotonic, pieces
        return pieces

    def _status(self, rules: Iterable[str], now: Now) -> Pieces:
        reading = self._counts.read(now.monotonic)
        self._ages.sample(now.time)
        known = self._known
        texts = (rule_text(known.rules[name], known.verdict(name), reading, self._ages) for name in rules)
        rest = self._fresh("rest", now, lambda: self._rest(now))
        return (self._head(now), *_joined(texts), *rest)

    def _head(self, now: Now) -> bytes:
        daemon, reload = self._known.section("daemon"), _last_of_the_files(self._known.section("reload"))
        head = {
            "version": SHAPE,
            "time": now.time,
            "daemon": {
                "version": daemon.get("version"),
                "pid": daemon.get("pid"),
                "uptime": _since(daemon.get("started"), now),
                "config": daemon.get("config"),
            },
            "generation": self._known.section("generation"),
            "reload": {name: reload.get(name) for name in _SHOWN_OF_RELOAD},
            "trial": self._known.section("trial") or None,
        }
        return text(head)[:-1].encode() + b',"rules":['

    def _rest(self, now: Now) -> Pieces:
        reading = self._counts.read(now.monotonic)
        interfaces = ",".join(interface_text(entry, reading) for entry in self._known.interfaces.values())
        return (f'],"interfaces":[{interfaces}],"processes":{text(self._processes(now))}}}'.encode(),)

    def _processes(self, now: Now) -> Json:
        return [
            self._process(name, process, now) for name, process in self._known.section("processes").items()
        ]

    def _process(self, name: str, process: Mapping[str, Any], now: Now) -> Json:
        pid = process["pid"]
        used = self._usages.used(pid) if pid else None
        return {
            "name": name,
            "kind": process["kind"],
            "pid": pid,
            "state": process["state"],
            "reason": process["reason"],
            "restarts": process["restarts"],
            "uptime": _since(process["started"], now),
            "cpu_percent": self._usages.percent(pid, used, now.monotonic) if used else None,
            "cpu_seconds": used and used.cpu_seconds,
            "memory_octets": used and used.memory_octets,
        }

    def _stats(self, rules: Iterable[str], now: Now) -> Pieces:
        reading = self._counts.read(now.monotonic)
        known = self._known
        head = text({"version": SHAPE, "time": now.time})[:-1] + ',"rules":['
        texts = (text(rule_stats(name, known.rules[name], reading)) for name in rules)
        interfaces = [interface_stats(name, one, reading) for name, one in known.interfaces.items()]
        return (head.encode(), *_joined(texts), f'],"interfaces":{text(interfaces)}}}'.encode())

    def _list(self) -> Pieces:
        rules = []
        for name, entry in self._known.rules.items():
            state, reason = self._known.verdict(name)
            place = {"file": entry.file, "line": entry.line, "description": entry.description}
            rules.append({"name": name, "state": state, "reason": reason, **place})
        return (text({"version": SHAPE, "rules": rules}).encode(),)


def _last_of_the_files(reload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the last verdict on the files: a confirmation says nothing of them, nor a refusal."""
    verdicts = (reload, *reload.get("earlier", ()))
    return next((one for one in verdicts if one.get("outcome") not in _NOT_OF_THE_FILES), reload)


def _joined(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield texts with commas between them, many in a piece: a text of all would be in memory three times."""
    left, comma = iter(texts), ""
    while some := list(islice(left, TOGETHER)):
        yield (comma + ",".join(some)).encode()
        comma = ","


def _since(started: float | None, now: Now) -> float | None:
    return None if started is None else max(0.0, round(now.monotonic - started, 3))
