"""The control process's copy of the snapshot, with its rules and interfaces prepared for the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.rule_status import RuleState, join_reasons
from mcrelay.protocol.relayed_flows import Duplicate, RelayedFlow
from mcrelay.protocol.snapshot import merge_delta
from mcrelay.status.entries import InterfaceEntry, RuleEntry, interface_entry, rule_entry
from mcrelay.status.near_misses import Place
from mcrelay.status.rates import CounterReader

_RELAYING = (RuleState.ACTIVE, RuleState.PAUSED)
_UNKNOWN_STATUS = ("unresolved", "not evaluated yet")


class SnapshotReplica:
    """Holds a copy of the supervisor's snapshot, to which it applies deltas."""

    def __init__(self, counters: CounterReader) -> None:
        self._snapshot: dict[str, Any] = {}
        self._counters = counters
        self._duplicates: Mapping[str, Sequence[Duplicate]] = {}

    def apply_delta(self, delta: Mapping[str, Any], now: float) -> None:
        """Apply a delta; `now` is in monotonic seconds."""
        prepared = dict(delta)
        if "rules" in delta:
            prepared["rules"] = _prepare_entries(
                delta["rules"], lambda name, rule: self._rule(name, rule, now)
            )
        if "interfaces" in delta:
            prepared["interfaces"] = _prepare_entries(
                delta["interfaces"], lambda name, interface: self._interface(name, interface, now)
            )
        self._snapshot = merge_delta(self._snapshot, prepared)

    @property
    def is_complete(self) -> bool:
        """True if a whole snapshot has arrived: the last part of a delta has the small sections."""
        return "generation" in self._snapshot

    @property
    def rules(self) -> Mapping[str, RuleEntry]:
        """The rules by name, in the order of the file."""
        return self.section("rules")

    @property
    def interfaces(self) -> Mapping[str, InterfaceEntry]:
        """The interfaces by name."""
        return self.section("interfaces")

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the snapshot, or an empty mapping if the section has not arrived yet."""
        section: Mapping[str, Any] = self._snapshot.get(name, {})
        return section

    def places(self) -> Mapping[int, Place]:
        """Return the interface of each ifindex, the first one if several interfaces have the same device."""
        return {
            interface.ifindex: Place(name, interface.device)
            for name, interface in reversed([*self.interfaces.items()])
            if interface.ifindex is not None
        }

    def devices(self) -> Mapping[int, str]:
        """Return the names of the devices by ifindex."""
        return {
            interface.ifindex: interface.device
            for interface in self.interfaces.values()
            if interface.ifindex is not None
        }

    def reload_results(self) -> Sequence[Mapping[str, Any]]:
        """Return the results of the last completed reloads, the latest first."""
        reload = self.section("reload")
        latest = {name: value for name, value in reload.items() if name not in ("begun", "earlier")}
        return [result for result in (latest, *reload.get("earlier", ())) if result.get("finished")]

    def rule_status(self, rule: str) -> tuple[str, str]:
        """Return the state of a rule, and the reason for the state."""
        state, reason = self.section("statuses").get(rule, _UNKNOWN_STATUS)
        twice = (one.reason for one in self._duplicates.get(rule, ()) if one.is_sent_twice)
        return state, join_reasons(reason, *twice)

    def duplicates_changed(self, duplicates: Mapping[str, Sequence[Duplicate]]) -> None:
        """Record the flows that other daemons of the host relay, too, by the names of rules."""
        self._duplicates = duplicates

    def hints(self) -> Sequence[str]:
        """Return a line for each flow that another daemon relays to other outputs."""
        return [
            f"rule {rule}: {one.reason}"
            for rule, found in self._duplicates.items()
            for one in found
            if not one.is_sent_twice
        ]

    def relayed_flows(self) -> tuple[RelayedFlow, ...]:
        """Return the flows of the rules that run."""
        indexes = {device: ifindex for ifindex, device in self.devices().items()}
        return tuple(
            _flow(name, rule, indexes)
            for name, rule in self.rules.items()
            if self.section("statuses").get(name, _UNKNOWN_STATUS)[0] in _RELAYING
        )

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


def _prepare_entries(
    edits: Mapping[str, Any], prepare: Callable[[str, Mapping[str, Any]], object]
) -> Mapping[str, Any]:
    """Return the edits of a section, with `prepare` applied to each value that they set."""
    return {**edits, "set": {name: prepare(name, value) for name, value in edits.get("set", {}).items()}}


def _flow(name: str, rule: RuleEntry, indexes: Mapping[str, int]) -> RelayedFlow:
    (ifindex, destination, port), *outputs = (
        (indexes.get(device, 0), destination, port) for device, destination, port in rule.ends
    )
    return RelayedFlow(name, ifindex, destination, port, rule.sources, frozenset(outputs))
