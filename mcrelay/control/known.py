"""What the supervisor has told: the picture, and its rules and interfaces made ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcrelay.control.counts import Counts
from mcrelay.control.entries import InterfaceEntry, RuleEntry, interface_entry, rule_entry
from mcrelay.counters import LINKS, OUTPUTS, RULES
from mcrelay.picture import merged

_NOT_SEEN_YET = ("unresolved", "the daemon has not looked at it yet")


class Known:
    """A copy of the supervisor's picture, kept up to date by its changes."""

    def __init__(self, counts: Counts) -> None:
        self.rules: dict[str, RuleEntry] = {}
        self.interfaces: dict[str, InterfaceEntry] = {}
        self._picture: dict[str, Any] = {}
        self._counts = counts

    def change(self, sections: Mapping[str, Any], now: float) -> None:
        """Take what is other than before; the order is that of the picture, and so of the file."""
        self._picture = merged(self._picture, sections)
        for name, rule in _set(sections, "rules"):
            self.rules[name] = self._rule(name, rule, now)
        for name, interface in _set(sections, "interfaces"):
            self.interfaces[name] = self._interface(name, interface, now)
        if "rules" in sections:
            self.rules = {name: self.rules[name] for name in self.section("rules")}
        if "interfaces" in sections:
            self.interfaces = {name: self.interfaces[name] for name in self.section("interfaces")}

    def _rule(self, name: str, rule: Mapping[str, Any], now: float) -> RuleEntry:
        entry = rule_entry(name, rule, self.rules.get(name), now)
        self._counts.use(RULES, entry.row)
        for output in entry.outputs:
            self._counts.use(OUTPUTS, output.row)
        return entry

    def _interface(self, name: str, interface: Mapping[str, Any], now: float) -> InterfaceEntry:
        entry = interface_entry(name, interface, self.interfaces.get(name), now)
        self._counts.use(LINKS, entry.row)
        return entry

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the picture; it is empty until it has been told."""
        section: Mapping[str, Any] = self._picture.get(name, {})
        return section

    def devices(self) -> Mapping[int, str]:
        """Return the names of the devices by their indices."""
        interfaces = self.section("interfaces").values()
        return {one["ifindex"]: one["device"] for one in interfaces if one["ifindex"] is not None}

    def verdict(self, rule: str) -> Sequence[str]:
        """Return the state of a rule, and the reason."""
        verdict: Sequence[str] = self.section("verdicts").get(rule, _NOT_SEEN_YET)
        return verdict


def _set(sections: Mapping[str, Any], name: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return list(sections.get(name, {}).get("set", {}).items())
