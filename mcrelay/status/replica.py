"""What the supervisor has told: the picture, and its rules and interfaces made ready to be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.protocol.snapshot import merged
from mcrelay.status.entries import InterfaceEntry, RuleEntry, interface_entry, rule_entry
from mcrelay.status.rates import Counts

_NOT_SEEN_YET = ("unresolved", "the daemon has not looked at it yet")


class SnapshotReplica:
    """A copy of the supervisor's picture, kept up to date by its changes."""

    def __init__(self, counts: Counts) -> None:
        self._picture: dict[str, Any] = {}
        self._counts = counts

    def change(self, sections: Mapping[str, Any], now: float) -> None:
        """Take what is other than before."""
        made = dict(sections)
        if "rules" in sections:
            made["rules"] = _mapped(sections["rules"], lambda name, rule: self._rule(name, rule, now))
        if "interfaces" in sections:
            made["interfaces"] = _mapped(
                sections["interfaces"], lambda name, interface: self._interface(name, interface, now)
            )
        self._picture = merged(self._picture, made)

    @property
    def is_told(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._picture)

    @property
    def rules(self) -> Mapping[str, RuleEntry]:
        """The rules by their names, in the order of the file."""
        return self.section("rules")

    @property
    def interfaces(self) -> Mapping[str, InterfaceEntry]:
        """The interfaces by their names."""
        return self.section("interfaces")

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
        return {one.ifindex: one.device for one in self.interfaces.values() if one.ifindex is not None}

    def verdict(self, rule: str) -> Sequence[str]:
        """Return the state of a rule, and the reason."""
        verdict: Sequence[str] = self.section("verdicts").get(rule, _NOT_SEEN_YET)
        return verdict


def _mapped(edits: Mapping[str, Any], made: Callable[[str, Mapping[str, Any]], object]) -> Mapping[str, Any]:
    """Return the edits of a section with what is made of each value that is set."""
    return {**edits, "set": {name: made(name, value) for name, value in edits.get("set", {}).items()}}
