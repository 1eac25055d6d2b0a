"""The configuration as values: interfaces, and rules with an input and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.model.addresses import format_endpoint
from mcrelay.model.outputs import Dscp, Ttl, output_name

Destination = tuple[str, str, int]
"""Where packets are sent or taken: device, address and port."""

AUTO_DATA_PLANE = "kernel"  # what `data_plane: auto` takes


def format_flow(flow: Destination) -> str:
    """Return the text of a destination: `239.1.1.1:5001 on eth0`."""
    device, address, port = flow
    return f"{format_endpoint(address, port)} on {device}"


@dataclass(frozen=True, slots=True)
class Interface:
    """A named device, and the defaults of the outputs that send through it."""

    name: str
    device: str
    source: str | None
    ttl: Ttl
    dscp: Dscp


@dataclass(frozen=True, slots=True)
class Input:
    """The destination of the packets that a rule relays: a group or a local address, and a port.

    If `sources` is not empty, only packets from these addresses are relayed. With `loopback`, packets that
    this host sends through the device are relayed, too.
    """

    interface: str
    destination: str
    port: int
    sources: tuple[str, ...] = ()
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """A destination of a rule, with the defaults of its interface filled in.

    If `source` is None, the route of the host decides, or for a group the device. If `source_port` is 0,
    the kernel chooses a port. With `loopback`, programs of this host hear what is sent.
    """

    interface: str
    destination: str
    port: int
    source: str | None
    source_port: int
    ttl: Ttl
    dscp: Dscp
    loopback: bool = False

    @property
    def name(self) -> str:
        """The name of this output in its rule, which is also the key of its counters."""
        return output_name(self.interface, self.destination, self.port)


@dataclass(frozen=True, slots=True)
class Rule:
    """One input and its outputs, under a unique name. `where` is the location of the name in the files.

    `data_plane` is `auto`, `kernel` or `userspace`. With `exclusive`, this host does not get the packets.
    """

    name: str
    description: str
    input: Input
    outputs: tuple[Output, ...]
    enabled: bool
    data_plane: str
    where: SourceLocation = field(compare=False)
    exclusive: bool = False

    @property
    def wanted_data_plane(self) -> str:
        """The data plane that the file asks for, `kernel` or `userspace`, whether or not it can be used."""
        if self.exclusive:
            return "kernel"
        return AUTO_DATA_PLANE if self.data_plane == "auto" else self.data_plane

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The names of the interfaces of the input and then of each output."""
        return self.input.interface, *(output.interface for output in self.outputs)


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration."""

    data_plane: str
    workers: int | Literal["auto"]
    watch: bool
    max_age: int
    """The greatest age of a packet that is relayed, in nanoseconds."""
    interfaces: Mapping[str, Interface]
    rules: Mapping[str, Rule]
    warnings: tuple[Problem, ...] = ()

    @property
    def devices(self) -> dict[str, str]:
        """The devices by the names of their interfaces."""
        return {name: interface.device for name, interface in self.interfaces.items()}
