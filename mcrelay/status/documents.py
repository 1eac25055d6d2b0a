"""The documents `status`, `list` and `stats`, which clients request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mcrelay.protocol.jsonrpc import Json, encode_json
from mcrelay.protocol.relayed_flows import Duplicate
from mcrelay.status.ages import ClockHistory
from mcrelay.status.entries import interface_stats, interface_text, listed_rule_text, rule_stats, rule_text
from mcrelay.status.output_errors import Age
from mcrelay.status.process_usage import Usage, UsageHistory
from mcrelay.status.rates import CounterReader
from mcrelay.status.replica import SnapshotReplica

JSON_VERSION = 1  # version of the shape of the documents
RULES_PER_PIECE = 500
MAX_AGE_S = 0.05  # a document that is not older than this answers further requests

Pieces = tuple[bytes, ...]
"""A document in pieces. The clients that wait for the same document share its pieces in memory."""

_RELOAD_KEYS = ("at", "outcome", "generation", "changes", "problems", "lines", "reason")
# The result until the first configuration runs, with the number of that configuration and its time.
_UNKNOWN_KERNEL = {"available": None, "reason": ""}
_STARTING = {"outcome": "starting", "changes": {}, "problems": [], "lines": [], "reason": ""}


@dataclass(frozen=True, slots=True)
class Now:
    """The readings of three clocks, in seconds: monotonic, time of day (since 1970), and since the boot."""

    monotonic: float
    time: float
    boot: float


class Documents:
    """Builds the documents from the snapshot, the counters and the resource usage of the processes."""

    def __init__(
        self,
        snapshot: SnapshotReplica,
        counters: CounterReader,
        read_usage: Callable[[int], Usage | None],
    ) -> None:
        self._snapshot = snapshot
        self._counters = counters
        self._read_usage = read_usage
        self._usages = UsageHistory()
        self._clock = ClockHistory()
        self._kept: dict[str, tuple[float, Pieces]] = {}

    def apply_delta(self, delta: Mapping[str, Any], now: Now) -> None:
        """Apply a delta to the snapshot, so that the next document shows it."""
        self._snapshot.apply_delta(delta, now.monotonic)
        self._kept.clear()

    def duplicates_changed(self, duplicates: Mapping[str, Sequence[Duplicate]]) -> None:
        """Record the flows that other daemons relay, too, so that the next document shows them."""
        self._snapshot.duplicates_changed(duplicates)
        self._kept.clear()

    def sample(self, now: Now) -> None:
        """Record the counters, the clock and the usage, from which later documents compute their rates."""
        self._counters.sample(now.monotonic)
        self._clock.sample(now.time, now.boot)
        pids = [process["pid"] for process in self._snapshot.section("processes").values() if process["pid"]]
        usages = {pid: usage for pid in pids if (usage := self._read_usage(pid))}
        self._usages.sample(usages, now.monotonic)
        self._kept.clear()

    def status(self, rule: str | None, now: Now) -> Pieces:
        """Return the document `status`, with all rules or, if `rule` is not None, with this rule only."""
        if rule is None:
            return self._reuse_or_build("status", now, lambda: self._status(self._snapshot.rules, now))
        return self._status((rule,), now)

    def stats(self, rule: str | None, now: Now) -> Pieces:
        """Return the document `stats`, with all rules or, if `rule` is not None, with this rule only."""
        if rule is None:
            return self._reuse_or_build("stats", now, lambda: self._stats(self._snapshot.rules, now))
        return self._stats((rule,), now)

    def list(self, now: Now) -> Pieces:
        """Return the document `list`, with all rules and their states."""
        return self._reuse_or_build("list", now, lambda: self._list(now))

    def _reuse_or_build(self, name: str, now: Now, build: Callable[[], Pieces]) -> Pieces:
        built, pieces = self._kept.get(name, (-MAX_AGE_S, ()))
        if not pieces or now.monotonic - built > MAX_AGE_S:
            pieces = build()
            self._kept[name] = now.monotonic, pieces
        return pieces

    def _status(self, rules: Iterable[str], now: Now) -> Pieces:
        reading, snapshot, age = self._counters.read(now.monotonic), self._snapshot, self._age_at(now)
        places = snapshot.places()
        texts = (
            rule_text(snapshot.rules[name], *snapshot.rule_status(name), reading, places, age)
            for name in rules
        )
        rest = self._reuse_or_build("rest", now, lambda: self._rest(now))
        return (self._head(now), *_join_in_pieces(texts), *rest)

    def _age_at(self, now: Now) -> Age:
        """Return the function that tells the age of a time of day."""
        self._clock.sample(now.time, now.boot)
        return lambda time: self._clock.age(time, now.boot)

    def _head(self, now: Now) -> bytes:
        daemon, generation = self._snapshot.section("daemon"), self._snapshot.section("generation")
        reload = _last_shown_result(self._snapshot.section("reload"))
        if "outcome" not in reload:
            reload = {**_STARTING, "generation": generation.get("number"), "at": generation.get("accepted")}
        head = {
            "version": JSON_VERSION,
            "time": now.time,
            "daemon": {
                "version": daemon.get("version"),
                "pid": daemon.get("pid"),
                "uptime": _seconds_since(daemon.get("started"), now),
                "config": daemon.get("config"),
                "problems": [*daemon.get("problems", ()), *self._snapshot.hints()],
                "kernel_data_plane": daemon.get("kernel_data_plane", _UNKNOWN_KERNEL),
            },
            "generation": generation,
            "reload": {name: reload.get(name) for name in _RELOAD_KEYS},
            "files": self._snapshot.section("files"),
            "trial": self._snapshot.section("trial") or None,
        }
        return encode_json(head)[:-1].encode() + b',"rules":['

    def _rest(self, now: Now) -> Pieces:
        reading = self._counters.read(now.monotonic)
        interfaces = ",".join(
            interface_text(interface, reading) for interface in self._snapshot.interfaces.values()
        )
        processes = encode_json(self._processes(now))
        return (f'],"interfaces":[{interfaces}],"processes":{processes}}}'.encode(),)

    def _processes(self, now: Now) -> Json:
        return [
            self._process(name, process, now) for name, process in self._snapshot.section("processes").items()
        ]

    def _process(self, name: str, process: Mapping[str, Any], now: Now) -> Json:
        pid = process["pid"]
        usage = self._read_usage(pid) if pid else None
        return {
            "name": name,
            "kind": process["kind"],
            "pid": pid,
            "state": process["state"],
            "reason": process["reason"],
            "restarts": process["restarts"],
            "uptime": _seconds_since(process["started"], now),
            "cpu_percent": self._usages.cpu_percent(pid, usage, now.monotonic) if usage else None,
            "cpu_seconds": usage and usage.cpu_seconds,
            "memory_octets": usage and usage.memory_octets,
        }

    def _stats(self, rules: Iterable[str], now: Now) -> Pieces:
        reading, snapshot, age = self._counters.read(now.monotonic), self._snapshot, self._age_at(now)
        head = encode_json({"version": JSON_VERSION, "time": now.time})[:-1] + ',"rules":['
        texts = (
            encode_json(rule_stats(name, snapshot.rules[name], *snapshot.rule_status(name), reading, age))
            for name in rules
        )
        interfaces = [
            interface_stats(name, interface, reading) for name, interface in snapshot.interfaces.items()
        ]
        return (
            head.encode(),
            *_join_in_pieces(texts),
            f'],"interfaces":{encode_json(interfaces)}}}'.encode(),
        )

    def _list(self, now: Now) -> Pieces:
        reading, snapshot, age = self._counters.read(now.monotonic), self._snapshot, self._age_at(now)
        places = snapshot.places()
        head = encode_json({"version": JSON_VERSION})[:-1] + ',"rules":['
        texts = (
            listed_rule_text(rule, *snapshot.rule_status(name), reading, places, age)
            for name, rule in snapshot.rules.items()
        )
        return (head.encode(), *_join_in_pieces(texts), b"]}")


def _last_shown_result(reload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the last result that is about the files or is a rollback.

    If there is no such result, return the last result.
    """
    results: Iterable[Mapping[str, Any]] = (reload, *reload.get("earlier", ()))
    for result in results:
        if result.get("is_about_files") or result.get("outcome") == "rolled_back":
            return result
    return reload


def _join_in_pieces(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield pieces of the texts, joined by commas. A single piece with all texts would be copied twice."""
    remaining, separator = iter(texts), ""
    while piece := list(islice(remaining, RULES_PER_PIECE)):
        yield (separator + ",".join(piece)).encode()
        separator = ","


def _seconds_since(started: float | None, now: Now) -> float | None:
    return None if started is None else max(0.0, round(now.monotonic - started, 3))
