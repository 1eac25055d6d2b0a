"""Builds the snapshot, the state of the daemon that clients see. Builds again only the changed sections."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcrelay import __version__
from mcrelay.config.changes import settings_of
from mcrelay.config.model import Config, Rule
from mcrelay.config.problems import SourceLocation
from mcrelay.model.links import LinkTable
from mcrelay.model.state import Membership, Route
from mcrelay.reconcile.lifecycle import Process
from mcrelay.reconcile.placement import Placement, placement_without_route
from mcrelay.reconcile.plan import Plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.status.description import describe_interface, describe_running_rule
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.supervisor.children import Child
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.privileged import users_of_daemons

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process of the daemon, with the name and kind that clients see."""

    name: str
    kind: str
    process: Process
    child: Child[Any] | None


@dataclass(frozen=True, slots=True)
class RuleSnapshot:
    """The state of a rule in the snapshot. Its JSON, ten times as large, is built when it is sent."""

    rule: Rule
    where: SourceLocation
    devices: tuple[str, ...]
    """The devices of the input and then of each output."""
    route: Route | None
    rows: tuple[int | None, ...]
    placement: Placement

    def as_json(self) -> Entry:
        """Return the JSON object that the control process gets."""
        devices = dict(zip(self.rule.interfaces, self.devices, strict=True))
        shown = describe_running_rule(
            self.rule, devices, self.route, self.placement.data_plane, self.placement.reason
        )
        return {"shown": shown, "rows": self.rows}


class SnapshotBuilder:
    """Builds snapshots from its sources, and keeps the larger sections until their sources change."""

    def __init__(
        self,
        run_dir: Path,
        configuration: Configuration,
        reconciler: Reconciler,
        counter_rows: CounterRows,
        log_loss: Callable[[], str],
        find_kernel_obstacle: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`find_kernel_obstacle` returns the `obstacle` of the kernel data plane (kernel_plane.py)."""
        self._daemon = {
            "pid": os.getpid(),
            "version": __version__,
            "config": os.path.abspath(configuration.path),
            "started": time.monotonic(),
            "run_dir": os.path.abspath(run_dir),
            "state_dir": os.path.abspath(configuration.state_dir),
            "uid": os.geteuid(),
            "trusted_uids": sorted(users_of_daemons()),
            "socket_gid": (run_dir / CONTROL_SOCKET).stat().st_gid,
        }
        self._configuration = configuration
        self._reconciler = reconciler
        self._counter_rows = counter_rows
        self._log_loss = log_loss
        self._find_kernel_obstacle = find_kernel_obstacle
        self._problems: list[str] = []
        self._built_from: dict[str, tuple[object, ...]] = {}
        self._rules: dict[str, RuleSnapshot] = {}
        self._interfaces: dict[str, Entry] = {}

    def build(self, links: LinkTable, processes: Iterable[ProcessInfo]) -> dict[str, Any]:
        """Return the snapshot as of now."""
        configuration, plan = self._configuration, self._reconciler.plan
        generation, running = configuration.generation, self._reconciler.running
        if self._is_new("rules", plan, generation, self._counter_rows.revision):
            self._build_rules(plan, configuration.config)
        rows = self._counter_rows.link_rows()
        if self._is_new("interfaces", links, generation, running.resources, rows):
            self._build_interfaces(links, running.memberships, rows)
        self._problems = self._find_problems()
        return {
            "daemon": {
                **self._daemon,
                "watch": configuration.is_watched,
                "problems": self._problems,
                "kernel_data_plane": _describe_kernel(self._find_kernel_obstacle()),
            },
            "generation": {
                "number": generation,
                "hash": configuration.hash,
                "accepted": configuration.accepted,
                "settings": settings_of(configuration.config),
            },
            "reload": configuration.reloads.as_json(),
            "files": configuration.files.as_json(),
            "trial": configuration.trials.as_json(generation),
            "rules": self._rules,
            "statuses": self._reconciler.statuses_now(),
            "interfaces": self._interfaces,
            "processes": self._build_processes(processes),
        }

    @property
    def has_other_problems(self) -> bool:
        """Whether the problems of the daemon differ from those in the last snapshot."""
        return self._find_problems() != self._problems

    def _find_problems(self) -> list[str]:
        """Return what the daemon cannot do besides relaying, as one line for each problem."""
        state = self._configuration.state_problem
        lacks = "no history, no trials, and no rollback after a restart"
        kernel = self._find_kernel_obstacle()
        return [
            *([f"{state}: {lacks}"] if state else []),
            *([f"there is no kernel data plane: {kernel}"] if kernel else []),
            *filter(None, [self._log_loss()]),
        ]

    def _is_new(self, section: str, *sources: object) -> bool:
        """Return whether the sources of a section have changed since it was built."""
        before, self._built_from[section] = self._built_from.get(section), sources
        return before is None or any(map(_differ, before, sources))

    def _build_rules(self, plan: Plan, config: Config) -> None:
        routes = plan.state.routes_by_rule()
        devices = config.devices
        rules = {}
        for name, rule in config.rules.items():
            ends = tuple(devices[interface] for interface in rule.interfaces)
            rows = self._counter_rows.rule_rows(rule)
            placement = plan.placements.get(name) or placement_without_route(rule)
            entry = RuleSnapshot(rule, rule.where, ends, routes.get(name), rows, placement)
            before = self._rules.get(name)
            rules[name] = before if before == entry else entry
        self._rules = rules

    def _build_interfaces(
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
            self._interfaces[name] = {
                "shown": describe_interface(interface, link, joined),
                "ifindex": link.ifindex if link else None,
                "row": row,
            }

    def _build_processes(self, processes: Iterable[ProcessInfo]) -> dict[str, Entry]:
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
            **{process.name: _process_as_json(process) for process in processes},
        }


def _describe_kernel(obstacle: str | None) -> Entry:
    return {"available": None if obstacle is None else not obstacle, "reason": obstacle or ""}


def _process_as_json(info: ProcessInfo) -> Entry:
    process, child = info.process, info.child
    return {
        "kind": info.kind,
        "pid": child.pid if child else None,
        "state": process.activity,
        "started": child.started if child else None,
        "restarts": process.restarts,
        "reason": process.reason,
    }


def _differ(one: object, other: object) -> bool:
    # Large values are compared by identity: a config or plan that changed is a new object.
    return one != other if isinstance(one, int | frozenset | dict) else one is not other
