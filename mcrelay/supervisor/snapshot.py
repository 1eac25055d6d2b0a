"""Draws the picture that clients see of the daemon; the rules, which are many, only where they changed."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcrelay import __version__
from mcrelay.config.model import Config, Rule
from mcrelay.config.problems import SourceLocation
from mcrelay.model.links import LinkTable
from mcrelay.model.state import Membership, Route
from mcrelay.reconcile.lifecycle import Process
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.status.description import described_input, described_interface, described_outputs
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.supervisor.children import Child
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.counter_rows import CounterRows

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One of the daemon's processes, by the name that clients see."""

    name: str
    kind: str
    process: Process
    child: Child[Any] | None


@dataclass(frozen=True, slots=True)
class RuleSnapshot:
    """All that the picture shows of a rule. Drawn only to be told: drawings take ten times the room."""

    rule: Rule
    where: SourceLocation
    devices: tuple[str, ...]
    """Of the input, and then of each output."""
    route: Route | None
    workers: int
    rows: tuple[int | None, ...]

    def as_json(self) -> Entry:
        """Draw it."""
        rule, rows = self.rule, self.rows
        devices = dict(zip(_interfaces(rule), self.devices, strict=True))
        outputs = described_outputs(rule, devices, self.route)
        return {
            "file": self.where.file,
            "line": self.where.line,
            "description": rule.description,
            "enabled": rule.enabled,
            "data_plane": "userspace",
            "workers": self.workers,
            "input": described_input(rule, devices),
            "row": rows[0],
            "outputs": [{**output, "row": row} for output, row in zip(outputs, rows[1:], strict=True)],
        }


class SnapshotBuilder:
    """What the picture is drawn of, and the larger sections as they were drawn last."""

    def __init__(
        self, run_dir: Path, configuration: Configuration, reconciler: Reconciler, ledger: CounterRows
    ) -> None:
        self._daemon = {
            "pid": os.getpid(),
            "version": __version__,
            "config": os.path.abspath(configuration.path),
            "started": time.monotonic(),
            "run_dir": os.path.abspath(run_dir),
            "state_dir": os.path.abspath(configuration.state_dir),
            "uid": os.geteuid(),
            "socket_gid": (run_dir / CONTROL_SOCKET).stat().st_gid,
        }
        self._configuration = configuration
        self._reconciler = reconciler
        self._ledger = ledger
        self._shown: dict[str, tuple[object, ...]] = {}
        self._rules: dict[str, RuleSnapshot] = {}
        self._interfaces: dict[str, Entry] = {}

    def drawn(self, links: LinkTable, members: Iterable[ProcessInfo]) -> dict[str, Any]:
        """Return the picture as it is now."""
        configuration, plan = self._configuration, self._reconciler.plan
        generation, running = configuration.generation, self._reconciler.running
        if self._is_new("rules", plan, generation, self._ledger.revision):
            self._draw_rules(plan, configuration.config)
        rows = self._ledger.rows_of_links()
        if self._is_new("interfaces", links, generation, running.resources, rows):
            self._draw_interfaces(links, running.memberships, rows)
        return {
            "daemon": {**self._daemon, "watch": configuration.is_watched},
            "generation": {
                "number": generation,
                "hash": configuration.hash,
                "accepted": configuration.accepted,
            },
            "reload": configuration.reloads.as_json(),
            "trial": configuration.trials.as_json(generation),
            "rules": self._rules,
            "verdicts": self._reconciler.statuses_now(),
            "interfaces": self._interfaces,
            "processes": self._drawn_processes(members),
        }

    def _is_new(self, section: str, *shown: object) -> bool:
        """Tell whether a section shows other things than when it was drawn last."""
        before, self._shown[section] = self._shown.get(section), shown
        return before is None or any(map(_differ, before, shown))

    def _draw_rules(self, plan: Plan, config: Config) -> None:
        routes = plan.state.forwarding.routes_by_rule()
        devices = {name: interface.device for name, interface in config.interfaces.items()}
        drawn = {}
        for name, rule in config.rules.items():
            ends = tuple(devices[interface] for interface in _interfaces(rule))
            rows = self._ledger.rows_of(rule)
            entry = RuleSnapshot(rule, rule.where, ends, routes.get(name), plan.state.worker_count, rows)
            before = self._rules.get(name)
            drawn[name] = before if before == entry else entry
        self._rules = drawn

    def _draw_interfaces(
        self, links: LinkTable, memberships: Iterable[Membership], rows: Mapping[Hashable, int]
    ) -> None:
        groups: dict[int, list[Membership]] = {}
        for membership in memberships:
            groups.setdefault(membership.ifindex, []).append(membership)
        self._interfaces = {}
        for name, interface in self._configuration.config.interfaces.items():
            link = links.get(interface.device)
            joined = groups.get(link.ifindex, []) if link else []
            row = rows.get(link.ifindex) if link else None
            self._interfaces[name] = {**described_interface(interface, link, joined), "row": row}

    # The processes.

    def _drawn_processes(self, members: Iterable[ProcessInfo]) -> dict[str, Entry]:
        supervisor = {
            "kind": "supervisor",
            "pid": self._daemon["pid"],
            "state": "running",
            "started": self._daemon["started"],
            "restarts": 0,
            "reason": "",
        }
        return {
            "supervisor": supervisor,
            **{member.name: self._drawn_process(member) for member in members},
        }

    def _drawn_process(self, member: ProcessInfo) -> Entry:
        process, child = member.process, member.child
        return {
            "kind": member.kind,
            "pid": child.pid if child else None,
            "state": process.activity,
            "started": child.started if child else None,
            "restarts": process.restarts,
            "reason": process.reason,
        }


def _differ(one: object, other: object) -> bool:
    # Configs and plans of ten thousand rules are new objects when there is anything new about them.
    return one != other if isinstance(one, int | frozenset | dict) else one is not other


def _interfaces(rule: Rule) -> Iterator[str]:
    yield rule.input.interface
    for output in rule.outputs:
        yield output.interface
