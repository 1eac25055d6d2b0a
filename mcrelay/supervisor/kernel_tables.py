"""What the maps of the kernel data plane need beside the flows, and its upkeep with the least changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mcrelay.kernel.layout import AddressKey
from mcrelay.kernel.maps import KernelMaps
from mcrelay.model.addresses import is_group
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.state import DesiredState
from mcrelay.supervisor.counter_rows import CounterRows

Endpoint = tuple[str, int]


@dataclass(slots=True)
class KernelTables:
    """The endpoints of the relay, the addresses that rules count for, and the rows of links."""

    own: set[Endpoint] = field(default_factory=set)
    addresses: dict[AddressKey, tuple[int | None, bool]] = field(default_factory=dict)
    links: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, maps: KernelMaps) -> KernelTables:
        """Return what an earlier daemon has left in the maps; raises OSError."""
        return cls(maps.own(), maps.addresses(), maps.links())

    def extend(self, maps: KernelMaps, wanted: KernelTables) -> None:
        """Write what is new in `wanted` into the maps; raises OSError."""
        for endpoint in wanted.own - self.own:
            maps.set_own(*endpoint)
        for key, (row, takes_outgoing) in wanted.addresses.items():
            if self.addresses.get(key) != (row, takes_outgoing):
                maps.set_address(key, row, takes_outgoing)
        for ifindex, row in wanted.links.items():
            if self.links.get(ifindex) != row:
                maps.set_link(ifindex, row)
        self.own |= wanted.own
        self.addresses |= wanted.addresses
        self.links |= wanted.links

    def reduce(self, maps: KernelMaps, wanted: KernelTables) -> None:
        """Delete from the maps what is not in `wanted`; raises OSError."""
        for endpoint in self.own - wanted.own:
            maps.delete_own(*endpoint)
            self.own.remove(endpoint)
        for key in self.addresses.keys() - wanted.addresses.keys():
            maps.delete_address(key)
            del self.addresses[key]
        for ifindex in self.links.keys() - wanted.links.keys():
            maps.delete_link(ifindex)
            del self.links[ifindex]


def wanted_tables(state: DesiredState, rows: CounterRows, own: Iterable[Endpoint]) -> KernelTables:
    """Return the tables for a state; `own` has the endpoints from which the relay sends.

    Raises RowsExhausted.
    """
    tables = KernelTables(set(own))
    for flow in state.flows:
        if not is_group(flow.destination):
            # Packets to the address of an input count as those of no rule, whatever link they come in on.
            tables.addresses[AddressKey(0, flow.destination, 0)] = None, False
    for flow, route in sorted(state.kernel.flows.items(), key=lambda item: -item[0].port):
        rule = rows.rule_row(route.rule)
        tables.addresses[AddressKey(0, flow.destination, flow.port)] = rule, False
        tables.addresses[AddressKey(flow.ifindex, flow.destination, 0)] = rule, False
        tables.links[flow.ifindex] = rows.link_row(flow.ifindex)
    for flow, route in state.forwarding.flows.items():
        key = AddressKey(flow.ifindex, flow.destination, 0)
        if route.loopback:
            tables.addresses[key] = tables.addresses.get(key, (None, False))[0], True
    return tables


def ensure_counters(maps: KernelMaps, link: int, rule: int, outputs: Iterable[int]) -> None:
    """Let the counters of these rows exist; raises OSError."""
    maps.ensure_cells(LINKS, link)
    maps.ensure_cells(RULES, rule)
    for output in outputs:
        maps.ensure_cells(OUTPUTS, output)
