"""Rules that conflict because two names of a device are one: `device: eth0`, and `device` with an altname.

The compiler refuses a flow that is given twice, by the names in the files. Only the links of the host tell
that two names are one device, and that may change while the daemon runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mcrelay.config.model import Config, Input, Output, Rule, format_flow
from mcrelay.model.links import LinkTable

_Destination = tuple[int, str, int]  # ifindex, address and port


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Why inputs, by the name of their rule, and outputs, by the names of rule and output, do not run."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[tuple[str, str], str] = field(default_factory=dict)


def find_conflicts(config: Config, links: LinkTable) -> Conflicts:
    """Return the conflicts between the enabled rules of a config. The earlier rule or output runs."""
    ifindexes = {device: link.ifindex for device in config.devices.values() if (link := links.get(device))}
    if len({*ifindexes.values()}) == len(ifindexes):  # no device has two names: the compiler has seen all
        return Conflicts()
    return _Finder(config, ifindexes).find()


class _Finder:
    """Finds the conflicts of a config; `ifindexes` has the number of each device that is present."""

    def __init__(self, config: Config, ifindexes: Mapping[str, int]) -> None:
        self._rules = [rule for rule in config.rules.values() if rule.enabled]
        self._devices = config.devices
        self._ifindexes = ifindexes

    def find(self) -> Conflicts:
        """Return the conflicts."""
        inputs = dict(self._find_inputs())
        running = [rule for rule in self._rules if rule.name not in inputs]
        return Conflicts(inputs, dict(self._find_outputs(running)))

    def _find_inputs(self) -> Iterator[tuple[str, str]]:
        """Yield each rule whose input an earlier rule relays. Inputs with different sources are distinct."""
        relayed: dict[_Destination, dict[str | None, Rule]] = {}
        for rule in self._rules:
            destination = self._destination_of(rule.input)
            if destination is None:
                continue
            earlier = relayed.setdefault(destination, {})
            sources = rule.input.sources
            rivals = (None, *sources) if sources else tuple(earlier)
            rival = next((earlier[source] for source in rivals if source in earlier), None)
            if rival is None:
                earlier.update(dict.fromkeys(sources or (None,), rule))
            else:
                what = f"{self._flow(rule.input)} is already relayed by rule `{rival.name}`"
                yield rule.name, f"{what}{self._same(rule.input, rival.input)}; add outputs there"

    def _find_outputs(self, rules: Iterable[Rule]) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield each output that repeats an earlier output of its rule, or feeds an input."""
        hearing: dict[_Destination | None, list[Rule]] = {}
        for rule in rules:
            if rule.input.loopback:
                hearing.setdefault(self._destination_of(rule.input), []).append(rule)
        for rule in rules:
            earlier: dict[_Destination, Output] = {}
            for output in rule.outputs:
                destination = self._destination_of(output)
                if destination is None:
                    continue
                first = earlier.setdefault(destination, output)
                if why := self._refuse_output(rule, output, first, hearing.get(destination, ())):
                    yield (rule.name, output.name), f"{self._flow(output)} is {why}"

    def _refuse_output(self, rule: Rule, output: Output, first: Output, hearing: Iterable[Rule]) -> str:
        """Return why an output does not run, or an empty text.

        `first` is the first output of the rule with this destination, and `hearing` are the rules with
        `loopback` whose input it is.
        """
        if self._destination_of(output) == self._destination_of(rule.input):
            return f"the rule's own input{self._same(output, rule.input)}: packets would loop forever"
        if first is not output:
            return f"already an output{self._same(output, first)}; delete one of them"
        taker = next((taker for taker in hearing if _takes(taker.input, output)), None)
        if output.loopback and taker:
            what = f"the input of rule `{taker.name}`, which has `loopback`, too"
            return f"{what}{self._same(output, taker.input)}: the relay would hear itself; delete one of them"
        return ""

    def _destination_of(self, end: Input | Output) -> _Destination | None:
        ifindex = self._ifindexes.get(self._devices[end.interface])
        return None if ifindex is None else (ifindex, end.destination, end.port)

    def _flow(self, end: Input | Output) -> str:
        return format_flow((self._devices[end.interface], end.destination, end.port))

    def _same(self, end: Input | Output, other: Input | Output) -> str:
        return f" ({self._devices[other.interface]} and {self._devices[end.interface]} are one device)"


def _takes(accepted: Input, output: Output) -> bool:
    """Return whether the source of an output is one that the input accepts, as in `config.feedback`."""
    return not accepted.sources or output.source in accepted.sources
