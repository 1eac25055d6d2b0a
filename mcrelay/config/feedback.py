"""Finds the rules whose input is what another rule of the same files sends on the same device.

The relay never takes what it sends. So rules in opposite directions relay nothing twice, and a rule that is
meant to continue another one relays nothing: that is a warning. The relay knows its packets by their source
address and port, so a program that sends from the same port is a warning, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mcrelay.config.model import Destination, Input, Output, format_flow
from mcrelay.config.problems import Problem
from mcrelay.config.section import Section


@dataclass(frozen=True, slots=True)
class RuleFlows:
    """The input and the outputs of an enabled rule, with their destinations and their sections."""

    section: Section
    input: Input
    flow: Destination
    outputs: tuple[tuple[Section, Output, Destination], ...]

    @property
    def name(self) -> str:
        """The name of the rule."""
        return str(self.section.path[-1])

    def takes(self, output: Output) -> bool:
        """Return whether the packets of an output to this input have a source that the input accepts."""
        return not self.input.sources or output.source in self.input.sources

    def sends_to(self, flow: Destination) -> bool:
        """Return whether an output has this destination."""
        return any(flow == destination for _, _, destination in self.outputs)


def find_feedback(rules: Sequence[RuleFlows]) -> tuple[list[Problem], list[Problem]]:
    """Return the problems and the warnings about outputs of these rules that send into their inputs."""
    problems: list[Problem] = []
    warnings: dict[str, Problem] = {}
    for sender, section, output, taker in _find_pairs(rules):
        what = format_flow(taker.flow)
        if output.loopback and taker.input.loopback:
            message = f"{what} is the input of rule `{taker.name}`, which has `loopback`, too"
            advice = "the relay would hear itself; delete one of them"
            problems.append(section.problem(f"{message}: {advice}", "loopback"))
        elif not taker.sends_to(sender.flow):
            message = f"{what} is what rule `{sender.name}` sends, and the relay does not take what it sends"
            warning = taker.section.problem(f"{message}; add outputs to rule `{sender.name}`", "input")
            warnings.setdefault(taker.name, warning)
    return problems, [*warnings.values(), *_find_shared_ports(rules)]


def _find_shared_ports(rules: Sequence[RuleFlows]) -> Iterator[Problem]:
    """Yield a warning for each input with `loopback` to whose device an output sends from a fixed port."""
    ports: dict[str, int] = {}
    for rule in rules:
        for _, output, (device, _, _) in rule.outputs:
            if output.source_port and output.source is None:
                ports.setdefault(device, output.source_port)
    for rule in rules:
        if rule.input.loopback and (port := ports.get(rule.flow[0])):
            message = f"what programs on this host send from port {port} is taken for packets of the relay"
            advice = f"give the outputs with `source_port: {port}` a `source` of their own"
            yield rule.section.problem(f"{message}; {advice}", "input", "loopback")


def _find_pairs(rules: Iterable[RuleFlows]) -> Iterator[tuple[RuleFlows, Section, Output, RuleFlows]]:
    """Yield each output that sends into the input of another rule, between its own rule and that rule."""
    takers: dict[Destination, list[RuleFlows]] = {}
    for rule in rules:
        takers.setdefault(rule.flow, []).append(rule)
    for rule in rules:
        for section, output, destination in rule.outputs:
            for taker in takers.get(destination, ()):
                if taker is not rule and taker.takes(output):
                    yield rule, section, output, taker
