"""Draws the picture that clients see of the daemon; the rules, which are many, only where they changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcrelay import __version__
from mcrelay.config import Config, Interface, Rule
from mcrelay.description import described_input, described_outputs
from mcrelay.links import LinkTable
from mcrelay.plan import Plan
from mcrelay.problem import Where
from mcrelay.process import Process
from mcrelay.reconcile import Reconciler
from mcrelay.state import Membership, Route
from mcrelay.supervisor.children import Child
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.rows import Ledger

Entry = dict[str, Any]

STEP = 0.5  # seconds by which a clock must be set until times that were told before are told anew


@dataclass(frozen=True, slots=True)
class Member:
    """One of the daemon's processes, by the name that clients see."""

    name: str
    kind: str
    process: Process
    child: Child[Any] | None


@dataclass(frozen=True, slots=True)
class _Subject:
    """All that the entry of a rule depends on."""

    rule: Rule
    where: Where
    devices: tuple[str, ...]
    route: Route | None
    workers: int
    rows: tuple[int | None, ...]


class Portrait:
    """What the picture is drawn of, and the rules as they were drawn last."""

    def __init__(
        self, run_dir: Path, configuration: Configuration, reconciler: Reconciler, ledger: Ledger
    ) -> None:
        self._daemon = {
            "pid": os.getpid(),
            "version": __version__,
            "config": os.path.abspath(configuration.path),
            "started": time.time(),
            "run_dir": os.path.abspath(run_dir),
        }
        self._configuration = configuration
        self._reconciler = reconciler
        self._ledger = ledger
        self._offset = 0.0
        self._drawn_of: tuple[Plan | None, Config | None, int] = (None, None, 0)
        self._rules: dict[str, Entry] = {}
        self._drawings: dict[str, tuple[_Subject, Entry]] = {}

    def drawn(self, links: LinkTable, members: Iterable[Member]) -> dict[str, Any]:
        """Return the picture as it is now."""
        configuration = self._configuration
        verdicts = self._reconciler.verdicts_now()
        return {
            "daemon": self._daemon,
            "generation": {
                "number": configuration.generation,
                "hash": configuration.hash,
                "accepted": configuration.accepted,
            },
            "reload": configuration.reloads.as_json(),
            "rules": self._drawn_rules(),
            "verdicts": {name: [str(one.state), one.reason] for name, one in verdicts.items()},
            "interfaces": self._drawn_interfaces(links),
            "processes": self._drawn_processes(members),
        }

    # The rules.

    def _drawn_rules(self) -> dict[str, Entry]:
        """Return all rules; nothing is looked at again where nothing is new."""
        plan, config, revision = self._reconciler.plan, self._configuration.config, self._ledger.revision
        # One and the same object says more, and at once, than a comparison of ten thousand rules.
        if plan is not self._drawn_of[0] or config is not self._drawn_of[1] or revision != self._drawn_of[2]:
            self._drawn_of = (plan, config, revision)
            self._draw_rules(plan, config)
        return self._rules

    def _draw_rules(self, plan: Plan, config: Config) -> None:
        flows = next((worker.flows for worker in plan.state.workers.values()), {})
        routes = {route.rule: route for route in flows.values()}
        workers = len(plan.state.workers)
        devices = {name: interface.device for name, interface in config.interfaces.items()}
        drawings = {}
        for name, rule in config.rules.items():
            named = (rule.input.interface, *(output.interface for output in rule.outputs))
            subject = _Subject(
                rule,
                rule.where,
                tuple(devices[one] for one in named),
                routes.get(name),
                workers,
                self._ledger.rows_of(rule),
            )
            before = self._drawings.get(name)
            if before is not None and before[0] == subject:
                drawings[name] = before
            else:
                drawings[name] = subject, _drawn_rule(subject, config)
        self._drawings = drawings
        self._rules = {name: entry for name, (_, entry) in drawings.items()}

    # The interfaces.

    def _drawn_interfaces(self, links: LinkTable) -> dict[str, Entry]:
        groups: dict[int, list[Membership]] = {}
        for membership in self._reconciler.running.memberships:
            groups.setdefault(membership.ifindex, []).append(membership)
        return {
            name: self._drawn_interface(interface, links, groups)
            for name, interface in self._configuration.config.interfaces.items()
        }

    def _drawn_interface(
        self, interface: Interface, links: LinkTable, groups: Mapping[int, list[Membership]]
    ) -> Entry:
        link = links.get(interface.device)
        if link is None:
            return {
                "device": interface.device,
                "ifindex": None,
                "link": "absent",
                "mtu": None,
                "addresses": [],
                "source": interface.source,
                "memberships": [],
                "row": None,
            }
        memberships = sorted(
            groups.get(link.ifindex, []), key=lambda membership: (membership.group, membership.source or "")
        )
        return {
            "device": interface.device,
            "ifindex": link.ifindex,
            "link": "up" if link.up else "down",
            "mtu": link.mtu,
            "addresses": list(link.addresses),
            "source": interface.source or next(iter(link.addresses), None),
            "memberships": [{"group": one.group, "source": one.source} for one in memberships],
            "row": self._ledger.row_of_link(link.ifindex),
        }

    # The processes.

    def _drawn_processes(self, members: Iterable[Member]) -> dict[str, Entry]:
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > STEP:
            self._offset = offset
        supervisor = {
            "kind": "supervisor",
            "pid": self._daemon["pid"],
            "state": "running",
            "started": self._daemon["started"],
            "restarts": 0,
            "reason": "",
            "retry_at": None,
        }
        return {
            "supervisor": supervisor,
            **{member.name: self._drawn_process(member) for member in members},
        }

    def _drawn_process(self, member: Member) -> Entry:
        process, child = member.process, member.child
        return {
            "kind": member.kind,
            "pid": child.pid if child else None,
            "state": process.stands,
            "started": child.started if child else None,
            "restarts": process.restarts,
            "reason": process.reason,
            "retry_at": None if child else process.start_not_before + self._offset,
        }


def _drawn_rule(subject: _Subject, config: Config) -> Entry:
    rule, rows = subject.rule, subject.rows
    outputs = described_outputs(rule, config, subject.route)
    return {
        "file": rule.where.file,
        "line": rule.where.line,
        "description": rule.description,
        "enabled": rule.enabled,
        "data_plane": "userspace",
        "workers": subject.workers,
        "input": described_input(rule, config),
        "row": rows[0],
        "outputs": [{**output, "row": row} for output, row in zip(outputs, rows[1:], strict=True)],
    }
