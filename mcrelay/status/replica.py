"""The control process's copy of the snapshot, with rules and interfaces made ready for the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.protocol.snapshot import merged
from mcrelay.status.entries import InterfaceEntry, RuleEntry, interface_entry, rule_entry
from mcrelay.status.rates import CounterReader

_UNKNOWN_STATUS = ("unresolved", "not evaluated yet")


class SnapshotReplica:
    """A copy of the supervisor's snapshot, kept up to date by deltas."""

    def __init__(self, counters: CounterReader) -> None:
        self._snapshot: dict[str, Any] = {}
        self._counters = counters

    def change(self, delta: Mapping[str, Any], now: float) -> None:
        """Take a delta; `now` is in monotonic seconds."""
        prepared = dict(delta)
        if "rules" in delta:
            prepared["rules"] = _prepared(delta["rules"], lambda name, rule: self._rule(name, rule, now))
        if "interfaces" in delta:
            prepared["interfaces"] = _prepared(
                delta["interfaces"], lambda name, interface: self._interface(name, interface, now)
            )
        self._snapshot = merged(self._snapshot, prepared)

    @property
    def has_content(self) -> bool:
        """Whether the first part of the snapshot has arrived."""
        return bool(self._snapshot)

    @property
    def rules(self) -> Mapping[str, RuleEntry]:
        """The rules by name, in the order of the file."""
        return self.section("rules")

    @property
    def interfaces(self) -> Mapping[str, InterfaceEntry]:
        """The interfaces by name."""
        return self.section("interfaces")

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the snapshot; it is empty until it has arrived."""
        section: Mapping[str, Any] = self._snapshot.get(name, {})
        return section

    def devices(self) -> Mapping[int, str]:
        """Return the names of the devices by ifindex."""
        return {one.ifindex: one.device for one in self.interfaces.values() if one.ifindex is not None}

    def reload_results(self) -> Sequence[Mapping[str, Any]]:
        """Return the results of the last reloads, the latest first."""
        reload = self.section("reload")
        latest = {name: value for name, value in reload.items() if name not in ("begun", "earlier")}
        return [one for one in (latest, *reload.get("earlier", ())) if one.get("finished")]

    def rule_status(self, rule: str) -> tuple[str, str]:
        """Return the state of a rule, and the reason."""
        state, reason = self.section("statuses").get(rule, _UNKNOWN_STATUS)
        return state, reason

    def _rule(self, name: str, rule: Mapping[str, Any], now: float) -> RuleEntry:
        entry = rule_entry(name, rule, self.rules.get(name), now)
        self._counters.include(RULES, entry.row.number)
        for row in entry.output_rows:
            self._counters.include(OUTPUTS, row.number)
        return entry

    def _interface(self, name: str, interface: Mapping[str, Any], now: float) -> InterfaceEntry:
        entry = interface_entry(name, interface, self.interfaces.get(name), now)
        self._counters.include(LINKS, entry.row.number)
        return entry


def _prepared(
    edits: Mapping[str, Any], prepare: Callable[[str, Mapping[str, Any]], object]
) -> Mapping[str, Any]:
    """Return the edits of a section in which each value that is set has been prepared."""
    return {**edits, "set": {name: prepare(name, value) for name, value in edits.get("set", {}).items()}}
