"""What the configuration files ask for, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.model.state import Dscp, Ttl, output_name


@dataclass(frozen=True, slots=True)
class Interface:
    """A named device, and how to send through it where an output says nothing else."""

    name: str
    device: str
    source: str | None
    ttl: Ttl
    dscp: Dscp


@dataclass(frozen=True, slots=True)
class Input:
    """What a rule takes: packets to a group or local address and port, from `sources` if there are any."""

    interface: str
    destination: str
    port: int
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """Where a rule sends to, with the interface's values filled in; source port 0 is the relay's choice."""

    interface: str
    destination: str
    port: int
    source: str | None
    source_port: int
    ttl: Ttl
    dscp: Dscp

    @property
    def name(self) -> str:
        """The name of this output among the rule's, by which it is counted."""
        return output_name(self.interface, self.destination, self.port)


@dataclass(frozen=True, slots=True)
class Rule:
    """One input and its outputs, under a unique name."""

    name: str
    description: str
    input: Input
    outputs: tuple[Output, ...]
    enabled: bool
    data_plane: str
    where: SourceLocation = field(compare=False)


@dataclass(frozen=True, slots=True)
class Config:
    """What the files ask for, known to be good."""

    data_plane: str
    workers: int | Literal["auto"]
    watch: bool
    interfaces: Mapping[str, Interface]
    rules: Mapping[str, Rule]
    warnings: tuple[Problem, ...] = ()
