"""Compiles the data of the files to a `Config`: merges drop-ins, and makes the checks beyond the schema.

There are three passes: the schema checks each file, the addresses and names in each map are checked, and the
rules are compared with each other. A later pass uses the values that earlier passes found valid, so that all
problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from mcrelay.config.durations import parse_duration, reason_out_of_range
from mcrelay.config.feedback import RuleFlows, find_feedback
from mcrelay.config.model import Config, Destination, Input, Interface, Output, Rule, format_flow
from mcrelay.config.problems import ConfigError, Key, Problem
from mcrelay.config.reader import Source
from mcrelay.config.schema import default
from mcrelay.config.section import FileSection, Section, read_section
from mcrelay.model.addresses import (
    BROADCAST_UNSUPPORTED,
    GROUP_RANGE,
    LIMITED_BROADCAST,
    LOOPBACK_DEVICE,
    is_group,
    is_link_local_group,
    is_loopback,
    is_source_specific_group,
    reason_not_host,
)
from mcrelay.model.suggestions import did_you_mean, list_words

MAX_AGE_RANGE = ("10ms", "1h")

_LOOPBACK_OF_A_HOST = {
    "input": (
        "packets of this host to its own address never leave through a device; delete `loopback`, and name an"
        f" interface with the device {LOOPBACK_DEVICE}"
    ),
    "output": "packets to the address of a host reach that host alone; delete `loopback`, or send to a group",
}

_WITHOUT = {"source": "the host chooses the address", "sources": "every sender is relayed"}


def compile_config(sources: Sequence[Source], before: Mapping[str, Rule] | None = None) -> Config:
    """Return the config of a main file and its drop-ins, in this order; raises ConfigError with all problems.

    If `before` has an equal rule with the same name and location, the config has the object from `before`.
    """
    return compile_sections([read_section(source) for source in sources], before)


def compile_sections(files: Sequence[FileSection], before: Mapping[str, Rule] | None = None) -> Config:
    """Do what `compile_config` does, with the sections of the files."""
    compiler = _Compiler((problem for _, problems in files for problem in problems), before or {})
    config = compiler.compile([section for section, _ in files])
    if compiler.problems:
        raise ConfigError(compiler.problems)
    return config


_Named = TypeVar("_Named", Interface, Rule)


class _Compiler:
    """Compiles sections of files to values of a config, and collects problems."""

    def __init__(self, problems: Iterable[Problem], before: Mapping[str, Rule]) -> None:
        self.problems = list(problems)
        self._before = before
        self._warnings: list[Problem] = []
        self._names: frozenset[str] = frozenset()  # of all interfaces, valid or not
        self._interfaces: dict[str, Interface] = {}
        self._relayed: dict[Destination, dict[str | None, Section]] = {}  # by source, None for any
        self._flows: list[RuleFlows] = []  # of enabled rules

    def compile(self, files: Sequence[Section]) -> Config:
        """Return the config of all files. It is incomplete if there are problems."""
        self._check_version(files[0])
        data_plane = self._only_file_with("data_plane", files).get(
            "data_plane", default("file", "data_plane")
        )
        workers = self._only_file_with("workers", files).get("workers", default("file", "workers"))
        watch = self._only_file_with("watch", files).get("watch", default("file", "watch"))
        max_age = self._max_age(self._only_file_with("max_age", files))
        interfaces = self._merge(files, "interfaces")
        self._names = frozenset(interfaces)
        self._interfaces = _by_name(
            self._compile_interface(name, section) for name, section in interfaces.items()
        )
        rules = _by_name(
            self._compile_rule(name, section, data_plane)
            for name, section in self._merge(files, "rules").items()
        )
        problems, warnings = find_feedback(self._flows)
        self.problems += problems
        self._warnings += warnings
        all_warnings = tuple(sorted(self._warnings))
        return Config(data_plane, workers, watch, max_age, self._interfaces, rules, all_warnings)

    def _report(self, section: Section, message: str, *keys: Key) -> None:
        self.problems.append(section.problem(message, *keys))

    def _check_version(self, main: Section) -> None:
        if main.source.data is None:
            self._report(main, "the file is empty; begin it with `version: 1`")
        elif isinstance(main.source.data, dict) and "version" not in main.data:
            is_part = bool(main.data.get("interfaces")) != bool(main.data.get("rules"))
            place = "; a drop-in is checked in its place: `mcrelay check --as /etc/mcrelay.d/NAME.yaml FILE`"
            message = "`version` is missing; begin the file with `version: 1`"
            self._report(main, message + (place if is_part else ""))

    def _only_file_with(self, key: str, files: Sequence[Section]) -> Section:
        first, *others = [file for file in files if key in file.data] or files[:1]
        for file in others:
            message = f"given twice, first at {first.source.where_key(key)}; delete one"
            self.problems.append(file.problem_at_key(message, key))
        return first

    def _max_age(self, section: Section) -> int:
        # A value that violates the schema is None here, and already reported.
        text: str = section.get("max_age") or default("file", "max_age")
        if why := reason_out_of_range(text, *MAX_AGE_RANGE):
            self._report(section, why, "max_age")
        return parse_duration(text)

    def _merge(self, files: Sequence[Section], kind: str) -> dict[str, Section]:
        sections: dict[str, Section] = {}
        for file in files:
            for name in file.within(kind).data:
                section = file.within(kind, name)
                if first := sections.get(name):
                    message = f"`{name}` is given twice, first at {first.where}; rename or delete one"
                    self.problems.append(section.problem_at_key(message))
                else:
                    sections[name] = section
        return sections

    def _compile_interface(self, name: str, section: Section) -> Interface | None:
        device = section.get("device")
        if device is None:
            return None
        source = self._valid_host(section, "source", device)
        ttl = section.get("ttl", default("interface", "ttl"))
        dscp = section.get("dscp", default("interface", "dscp"))
        return Interface(name, device, source, ttl, dscp)

    def _compile_rule(self, name: str, section: Section, data_plane: str) -> Rule | None:
        data_plane = section.get("data_plane", data_plane)
        exclusive = section.get("exclusive", default("rule", "exclusive"))
        if exclusive and data_plane == "userspace":
            message = "`true` needs the kernel data plane: delete it, or write `data_plane: auto`"
            self._report(section, message, "exclusive")
        enabled = section.get("enabled", default("rule", "enabled"))
        description = section.get("description", default("rule", "description"))
        rule_input = self._compile_input(section.within("input"))
        outputs = [(output, self._compile_output(output, rule_input)) for output in section.maps("outputs")]
        if rule_input is None:
            return None
        sent = [(output_section, output) for output_section, output in outputs if output]
        self._compare_outputs(rule_input, sent)
        if enabled:
            self._compare_rules(section, rule_input)
            destinations = tuple((where, output, self._destination_of(output)) for where, output in sent)
            flow = self._destination_of(rule_input)
            self._flows.append(RuleFlows(section, rule_input, flow, destinations))
        rule_outputs = tuple(output for _, output in sent)
        rule = Rule(
            name, description, rule_input, rule_outputs, enabled, data_plane, section.where, exclusive
        )
        return self._reuse(rule)

    def _reuse(self, rule: Rule) -> Rule:
        """Return the equal rule with the same location in `before`, or else this rule."""
        before = self._before.get(rule.name)
        return before if before and before == rule and before.where == rule.where else rule

    def _compile_input(self, section: Section) -> Input | None:
        interface = self._known_interface(section)
        destination = self._valid_destination(section, interface)
        for index, source in section.valid_items("sources"):
            if why := reason_not_host(source):
                self._report(section, why + _advise_on_address(source, "sources"), "sources", index)
        port = section.get("port")
        if interface is None or destination is None or port is None:
            return None
        if is_source_specific_group(destination) and not section.data.get("sources"):
            message = f"{destination} is for source-specific multicast (232.0.0.0/8, RFC 4607)"
            advice = "routers and switches may ignore a join without a source; add `sources`"
            self._warnings.append(section.problem(f"{message}: {advice}", "group"))
        sources = section.valid_items("sources") or enumerate(default("input", "sources"))
        loopback = self._loopback(section, "input", interface, destination)
        return Input(interface.name, destination, port, tuple(source for _, source in sources), loopback)

    def _compile_output(self, section: Section, rule_input: Input | None) -> Output | None:
        interface = self._known_interface(section)
        destination = self._valid_destination(section, interface) or self._inherit_group(section, rule_input)
        port = section.get("port", rule_input.port if rule_input else None)
        if interface is None or destination is None or port is None:
            return None
        source = self._valid_host(section, "source", interface.device) or interface.source
        ttl, dscp = section.get("ttl", interface.ttl), section.get("dscp", interface.dscp)
        if is_link_local_group(destination) and ttl != 1:
            message = f"{destination} is link-local, and receivers may refuse a TTL of {ttl}; set `ttl: 1`"
            self._warnings.append(section.problem(message, "ttl"))
        loopback = self._loopback(section, "output", interface, destination)
        source_port = section.get("source_port", 0)
        return Output(interface.name, destination, port, source, source_port, ttl, dscp, loopback)

    def _loopback(self, section: Section, kind: str, interface: Interface, destination: str) -> bool:
        """Return the `loopback` of an input or output, and report it where it has no meaning."""
        loopback: bool = section.get("loopback", default(kind, "loopback"))
        if loopback and interface.device == LOOPBACK_DEVICE:
            what = f"every packet on {LOOPBACK_DEVICE} comes from this host and returns to it"
            self._report(section, f"{what}; delete `loopback`", "loopback")
        elif loopback and not is_group(destination):
            self._report(section, _LOOPBACK_OF_A_HOST[kind], "loopback")
        return loopback

    def _known_interface(self, section: Section) -> Interface | None:
        name = section.get("interface")
        if name is not None and name not in self._names:
            self._report(section, f"no interface is named `{name}`{self._advise_on(name)}", "interface")
        return self._interfaces.get(name)

    def _advise_on(self, unknown: str) -> str:
        """Return the end of a message about an unknown name of an interface."""
        if not self._names:
            return f"; add it to `interfaces`: `{unknown}: {{device: eth0}}`, with its device"
        named = (name for name, interface in self._interfaces.items() if interface.device == unknown)
        if name := next(named, None):
            return f"; write `{name}`, the name of the interface with the device {unknown}"
        known = f"; there are: {list_words(sorted(self._names))}"
        return did_you_mean(unknown, self._names) or known

    def _valid_destination(self, section: Section, interface: Interface | None) -> str | None:
        group: str | None = section.get("group")
        for key in ("group", "address"):
            if section.get(key) == LIMITED_BROADCAST:
                self._report(section, f"{LIMITED_BROADCAST} is broadcast, and {BROADCAST_UNSUPPORTED}", key)
                return None
        if group is None:
            return self._valid_host(section, "address", interface.device if interface else LOOPBACK_DEVICE)
        if is_group(group):
            return group
        instead = "" if reason_not_host(group) else f"; for a host, write `address: {group}`"
        message = f"{group} is not a multicast group ({GROUP_RANGE}){instead}"
        self._report(section, message, "group")
        return None

    def _valid_host(self, section: Section, key: str, device: str) -> str | None:
        address: str | None = section.get(key)
        if address is not None and (why := reason_not_host(address, device)):
            self._report(section, why + _advise_on_address(address, key), key)
            return None
        return address

    def _inherit_group(self, section: Section, rule_input: Input | None) -> str | None:
        """Return the group of the input, for an output without `group` and `address`."""
        if rule_input is None or not section.data or section.data.keys() & {"group", "address"}:
            return None
        if is_group(rule_input.destination):
            return rule_input.destination
        needed = "the input is unicast, so the output needs `group` or `address`"
        self._report(section, f"{needed}; add, for example, `group: 239.2.2.2`")
        return None

    def _destination_of(self, end: Input | Output) -> Destination:
        return self._interfaces[end.interface].device, end.destination, end.port

    def _compare_outputs(self, rule_input: Input, outputs: Iterable[tuple[Section, Output]]) -> None:
        """Report each output that has the destination of the rule's input or of an earlier output."""
        earlier: dict[Destination, Section] = {}
        for section, output in outputs:
            flow = self._destination_of(output)
            if flow == self._destination_of(rule_input):
                message = f"{format_flow(flow)} is the rule's own input, and packets would loop forever"
                self._report(section, f"{message}; send to another group, port or interface")
            elif flow in earlier:
                self._report(
                    section, f"{format_flow(flow)} is already an output, at {earlier[flow].where}; delete one"
                )
            earlier.setdefault(flow, section)

    def _compare_rules(self, section: Section, rule_input: Input) -> None:
        """Report a rule whose input an earlier rule relays. Inputs with different sources are distinct."""
        flow = self._destination_of(rule_input)
        earlier = self._relayed.setdefault(flow, {})
        rivals = (None, *rule_input.sources) if rule_input.sources else tuple(earlier)
        rival = next((earlier[source] for source in rivals if source in earlier), None)
        if rival:
            message = f"{format_flow(flow)} is already relayed by rule `{rival.path[-1]}` at {rival.where}"
            self._report(section, f"{message}; add outputs there", "input")
        for source in rule_input.sources or (None,):
            earlier.setdefault(source, section)


def _advise_on_address(address: str, key: str) -> str:
    """Return the end of a message about an address that is not the one of a host, at this key."""
    if is_group(address):
        return f"; write `group: {address}`" if key == "address" else "; packets come from hosts alone"
    if is_loopback(address):
        return f"; name an interface with the device {LOOPBACK_DEVICE}"
    if key == "address":
        return "; write the address of one host"
    return f"; without `{key}`, {_WITHOUT[key]}"


def _by_name(found: Iterable[_Named | None]) -> dict[str, _Named]:
    return {value.name: value for value in found if value}
