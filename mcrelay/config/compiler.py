"""Data -> Config, with every rule across fields, and the drop-in files merged.

A file is checked in three passes: its shape by the schema, each map by what its addresses and names mean,
and the rules against each other. A later pass uses what earlier ones found sound, so that all problems show
at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from mcrelay.config.model import Config, Input, Interface, Output, Rule
from mcrelay.config.problems import ConfigError, Key, Problem
from mcrelay.config.reader import Source
from mcrelay.config.schema import default
from mcrelay.config.section import Section, shaped
from mcrelay.model.addresses import (
    LOOPBACK_DEVICE,
    format_endpoint,
    is_group,
    is_link_local_group,
    why_no_host,
)
from mcrelay.model.suggestions import did_you_mean, listed

_Destination = tuple[str, str, int]  # device, address, port: what two flows share when they clash


def compiled(sources: Sequence[Source], before: Mapping[str, Rule] | None = None) -> Config:
    """Return the config of a main file and its drop-ins, in this order.

    Raise `ConfigError` with all problems.

    A rule that is as it was `before`, to its place in the file, is the very same object.
    """
    files = [shaped(source) for source in sources]
    compiler = _Compiler((problem for _, problems in files for problem in problems), before or {})
    config = compiler.config([part for part, _ in files])
    if compiler.problems:
        raise ConfigError(compiler.problems)
    return config


_Named = TypeVar("_Named", Interface, Rule)


class _Compiler:
    """Turns parts of files into parts of a config, and collects what is wrong with them."""

    def __init__(self, problems: Iterable[Problem], before: Mapping[str, Rule]) -> None:
        self.problems = list(problems)
        self._before = before
        self._warnings: list[Problem] = []
        self._names: frozenset[str] = frozenset()  # of all interfaces, sound or not
        self._interfaces: dict[str, Interface] = {}
        self._relayed: dict[_Destination, dict[str | None, Section]] = {}  # by source, None for any

    def config(self, files: Sequence[Section]) -> Config:
        """Return the config of all files, of use only when there are no problems."""
        self._check_version(files[0])
        data_plane = self._data_plane(self._given_once(files, "data_plane"), default("file", "data_plane"))
        workers = self._given_once(files, "workers").get("workers", default("file", "workers"))
        watch = self._given_once(files, "watch").get("watch", default("file", "watch"))
        interfaces = self._merged(files, "interfaces")
        self._names = frozenset(interfaces)
        self._interfaces = _sound(self._interface(name, part) for name, part in interfaces.items())
        rules = _sound(
            self._rule(name, part, data_plane) for name, part in self._merged(files, "rules").items()
        )
        return Config(data_plane, workers, watch, self._interfaces, rules, tuple(sorted(self._warnings)))

    def _complain(self, part: Section, message: str, *keys: Key) -> None:
        self.problems.append(part.problem(message, *keys))

    def _check_version(self, main: Section) -> None:
        if main.source.data is None:
            self._complain(main, "the file is empty; begin it with `version: 1`")
        elif isinstance(main.source.data, dict) and "version" not in main.data:
            self._complain(main, "`version` is missing; begin the file with `version: 1`")

    def _given_once(self, files: Sequence[Section], key: str) -> Section:
        first, *others = [file for file in files if key in file.data] or files[:1]
        for file in others:
            message = f"given twice, first at {first.source.where_key(key)}"
            self.problems.append(file.problem_at_key(message, key))
        return first

    def _merged(self, files: Sequence[Section], kind: str) -> dict[str, Section]:
        parts: dict[str, Section] = {}
        for file in files:
            for name in file.within(kind).data:
                part = file.within(kind, name)
                if first := parts.get(name):
                    message = f"`{name}` is given twice, first at {first.where}"
                    self.problems.append(part.problem_at_key(message))
                else:
                    parts[name] = part
        return parts

    def _data_plane(self, part: Section, otherwise: str) -> str:
        wanted: str = part.get("data_plane", otherwise)
        if wanted == "kernel" and "data_plane" in part.data:
            message = "the kernel data plane is not built yet; use `auto` or `userspace`"
            self._complain(part, message, "data_plane")
        return wanted

    def _interface(self, name: str, part: Section) -> Interface | None:
        device = part.get("device")
        if device is None:
            return None
        source = self._host(part, "source", device)
        ttl = part.get("ttl", default("interface", "ttl"))
        dscp = part.get("dscp", default("interface", "dscp"))
        return Interface(name, device, source, ttl, dscp)

    def _rule(self, name: str, part: Section, data_plane: str) -> Rule | None:
        data_plane = self._data_plane(part, data_plane)
        if part.get("exclusive", default("rule", "exclusive")):
            message = "this needs the kernel data plane, which is not built yet; delete it"
            self._complain(part, message, "exclusive")
        enabled = part.get("enabled", default("rule", "enabled"))
        description = part.get("description", default("rule", "description"))
        taken = self._input(part.within("input"))
        outputs = [(output, self._output(output, taken)) for output in part.maps("outputs")]
        if taken is None:
            return None
        sent = [(output_part, output) for output_part, output in outputs if output]
        self._compare_outputs(taken, sent)
        if enabled:
            self._compare_rules(part, taken)
        outputs_sent = tuple(output for _, output in sent)
        return self._known(Rule(name, description, taken, outputs_sent, enabled, data_plane, part.where))

    def _known(self, rule: Rule) -> Rule:
        """Return the rule as it was before, if that is the same."""
        before = self._before.get(rule.name)
        return before if before and before == rule and before.where == rule.where else rule

    def _input(self, part: Section) -> Input | None:
        interface = self._known_interface(part)
        destination = self._destination(part, interface)
        for index, source in part.sound_items("sources"):
            if why := why_no_host(source):
                self._complain(part, why, "sources", index)
        port = part.get("port")
        if interface is None or destination is None or port is None:
            return None
        sources = part.sound_items("sources") or enumerate(default("input", "sources"))
        return Input(interface.name, destination, port, tuple(source for _, source in sources))

    def _output(self, part: Section, taken: Input | None) -> Output | None:
        interface = self._known_interface(part)
        destination = self._destination(part, interface) or self._inherited(part, taken)
        port = part.get("port", taken.port if taken else None)
        if interface is None or destination is None or port is None:
            return None
        source = self._host(part, "source", interface.device) or interface.source
        ttl, dscp = part.get("ttl", interface.ttl), part.get("dscp", interface.dscp)
        if is_link_local_group(destination) and ttl != 1:
            message = f"{destination} is link-local, and receivers may refuse a TTL of {ttl}; set `ttl: 1`"
            self._warnings.append(part.problem(message, "ttl"))
        return Output(interface.name, destination, port, source, part.get("source_port", 0), ttl, dscp)

    def _known_interface(self, part: Section) -> Interface | None:
        name = part.get("interface")
        if name is not None and name not in self._names:
            known = (
                f"; there are: {listed(sorted(self._names))}" if self._names else "; `interfaces` has none"
            )
            hint = did_you_mean(name, self._names) or known
            self._complain(part, f"no interface is named `{name}`{hint}", "interface")
        return self._interfaces.get(name)

    def _destination(self, part: Section, interface: Interface | None) -> str | None:
        group: str | None = part.get("group")
        if group is None:
            return self._host(part, "address", interface.device if interface else LOOPBACK_DEVICE)
        if is_group(group):
            return group
        instead = "" if why_no_host(group) else f"; for a host, write `address: {group}`"
        message = f"{group} is no multicast group (224.0.0.0 to 239.255.255.255){instead}"
        self._complain(part, message, "group")
        return None

    def _host(self, part: Section, key: str, device: str) -> str | None:
        address: str | None = part.get(key)
        if address is not None and (why := why_no_host(address, device)):
            self._complain(part, why, key)
            return None
        return address

    def _inherited(self, part: Section, taken: Input | None) -> str | None:
        """Return the input's group as the destination of an output that gives none."""
        if taken is None or not part.data or part.data.keys() & {"group", "address"}:
            return None
        if is_group(taken.destination):
            return taken.destination
        message = (
            "the input is unicast, so this needs `group` or `address`; add, for example, `group: 239.2.2.2`"
        )
        self._complain(part, message)
        return None

    def _at(self, end: Input | Output) -> _Destination:
        return self._interfaces[end.interface].device, end.destination, end.port

    def _compare_outputs(self, taken: Input, outputs: Iterable[tuple[Section, Output]]) -> None:
        """Complain of an output that sends where another of the same rule does, or into the rule's input."""
        earlier: dict[_Destination, Section] = {}
        for part, output in outputs:
            there = self._at(output)
            if there == self._at(taken):
                self._complain(
                    part, f"{_flow(there)} is the rule's own input: packets would go round for ever"
                )
            elif there in earlier:
                self._complain(part, f"{_flow(there)} is an output already, at {earlier[there].where}")
            earlier.setdefault(there, part)

    def _compare_rules(self, part: Section, taken: Input) -> None:
        """Complain of a flow that an earlier rule relays; rules for different sources are different flows."""
        there = self._at(taken)
        earlier = self._relayed.setdefault(there, {})
        rivals = (None, *taken.sources) if taken.sources else tuple(earlier)
        rival = next((earlier[source] for source in rivals if source in earlier), None)
        if rival:
            message = f"{_flow(there)} is relayed already by rule `{rival.path[-1]}` at {rival.where}"
            self._complain(part, f"{message}; add outputs there", "input")
        for source in taken.sources or (None,):
            earlier.setdefault(source, part)


def _sound(found: Iterable[_Named | None]) -> dict[str, _Named]:
    return {each.name: each for each in found if each}


def _flow(there: _Destination) -> str:
    device, destination, port = there
    return f"{format_endpoint(destination, port)} on {device}"
