"""What the maps of the kernel data plane hold, in the words of model/state.py.

A packet takes either the whole old route of a flow or the whole new one. The kernel may reuse the memory of
an entry that is replaced or deleted while the program still reads it. So an entry of `flows` is only the
number of a slot, and the program checks that the slot has the flow. A slot and its chunks never change while
the program may read them: a new route gets new ones, then the entry of the flow is replaced. What the old
route used is retired, and used again only after `reclaim` has waited until no CPU reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcrelay.kernel import bpf, layout
from mcrelay.kernel.bpf import MapSpec
from mcrelay.kernel.layout import (
    ADDRESS,
    CHUNK,
    CHUNK_OUTPUTS,
    INLINE_OUTPUTS,
    NUMBER,
    SEGMENT,
    AddressKey,
    KernelRoute,
)
from mcrelay.model.counters import LINKS, RULES, Table
from mcrelay.model.state import Flow

_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")


def possible_cpus() -> int:
    """Return the number of CPUs that the kernel may ever use."""
    last = _POSSIBLE_CPUS.read_text().strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


class Segments:
    """A map of maps whose inner maps are created when they are needed."""

    def __init__(self, name: str, outer: int, inner: MapSpec, descriptors: dict[str, int]) -> None:
        """`descriptors` has the maps that exist, by their names, and gets the new ones."""
        self._name, self._outer, self._inner, self._descriptors = name, outer, inner, descriptors

    def find(self, number: int) -> int | None:
        """Return the descriptor of the segment that has an entry, None if there is no such segment."""
        return self._descriptors.get(f"{self._name}-{number // SEGMENT}")

    def ensure(self, number: int) -> int:
        """Return the descriptor of the segment that has an entry; raises OSError."""
        found = self.find(number)
        if found is None:
            found = bpf.create_map(self._inner)
            bpf.update(self._outer, NUMBER.pack(number // SEGMENT), NUMBER.pack(found))
            self._descriptors[f"{self._name}-{number // SEGMENT}"] = found
        return found


class KernelMaps:
    """The maps. Each function raises OSError if bpf(2) fails."""

    def __init__(self, descriptors: dict[str, int], cpus: int) -> None:
        """`descriptors` has all maps and segments that exist, by their names."""
        self.descriptors = descriptors
        self.cpus = cpus
        self.hot = self._segments("hot", layout.hot_segment(cpus))
        self.cold = self._segments("cold", layout.COLD_SEGMENT)
        self._slots = self._segments("slots", layout.SLOT_SEGMENT)
        self._slot_of: dict[Flow, int] = {}
        self._chunks_of: dict[Flow, list[int]] = {}
        self._free_slots: list[int] = []
        self._used_slots = 0
        self._last_chunk = 0
        self._retired_slots: list[int] = []
        self._retired_chunks: list[int] = []
        self._grace: tuple[int, int] | None = None
        self._read_flows()

    @classmethod
    def create(cls) -> KernelMaps:
        """Create empty maps."""
        cpus = possible_cpus()
        descriptors = {}
        for name, spec in layout.map_specs(cpus).items():
            inner = bpf.create_map(spec.inner) if spec.inner else 0
            descriptors[name] = bpf.create_map(spec, inner)
        return cls(descriptors, cpus)

    def _segments(self, name: str, inner: MapSpec) -> Segments:
        return Segments(name, self.descriptors[name], inner, self.descriptors)

    def set_flow(self, flow: Flow, route: KernelRoute) -> None:
        """Set the route of a flow. Every packet takes either the old or the new route."""
        retired = self._slot_of.get(flow), self._chunks_of.get(flow, [])
        chunks = self._write_chunks(route)
        slot = self._take_slot()
        octets = layout.pack_slot(flow, route, chunks[0] if chunks else 0)
        bpf.update(self._slots.ensure(slot), NUMBER.pack(slot % SEGMENT), octets)
        bpf.update(self.descriptors["flows"], layout.pack_flow_key(flow), NUMBER.pack(slot))
        self._slot_of[flow], self._chunks_of[flow] = slot, chunks
        self._retire(*retired)

    def delete_flow(self, flow: Flow) -> None:
        """Delete a flow."""
        bpf.delete(self.descriptors["flows"], layout.pack_flow_key(flow))
        self._retire(self._slot_of.pop(flow, None), self._chunks_of.pop(flow, []))

    def flows(self) -> dict[Flow, KernelRoute]:
        """Return the route of each flow, as the maps have it."""
        return {flow: self._read_route(flow) for flow in self._slot_of}

    def grace(self) -> None:
        """Wait until no CPU reads what an entry had before it was replaced or deleted.

        The kernel waits for that itself after a change of any map of maps (maybe_wait_bpf_programs).
        """
        if self._grace is None:
            inner = bpf.create_map(layout.COLD_SEGMENT)
            self._grace = bpf.create_map(layout.GRACE, inner), inner
        outer, inner = self._grace
        bpf.update(outer, NUMBER.pack(0), NUMBER.pack(inner))

    def reclaim(self) -> None:
        """Wait as `grace` does, and make room of what old routes used. Call it after a batch of changes."""
        if self._retired_slots or self._retired_chunks:
            self.grace()
            for chunk in self._retired_chunks:
                bpf.delete(self.descriptors["chunks"], NUMBER.pack(chunk))
            self._free_slots += self._retired_slots
            self._retired_slots, self._retired_chunks = [], []

    def ensure_cells(self, table: Table, row: int) -> None:
        """Let the counters of a row exist; the program does not count where they are missing."""
        self.hot.ensure(layout.cell(table, row))
        self.cold.ensure(layout.cell(table, row))

    def set_own(self, address: str, port: int) -> None:
        """Let the packets from an endpoint be counted as `own`: an output of the relay sends from there."""
        bpf.update(self.descriptors["own"], layout.pack_endpoint(address, port), NUMBER.pack(1))

    def delete_own(self, address: str, port: int) -> None:
        """Undo `set_own`."""
        bpf.delete(self.descriptors["own"], layout.pack_endpoint(address, port))

    def own(self) -> set[tuple[str, int]]:
        """Return the endpoints of `set_own`."""
        return {
            layout.unpack_endpoint(key) for key in bpf.keys(self.descriptors["own"], layout.ENDPOINT.size)
        }

    def set_address(self, key: AddressKey, rule_row: int | None, takes_outgoing: bool = False) -> None:
        """Set the rule that counts faults and near misses of an address; see `AddressKey`."""
        rule = 0 if rule_row is None else layout.cell(RULES, rule_row)
        bpf.update(self.descriptors["addresses"], key.pack(), ADDRESS.pack(rule, takes_outgoing))

    def delete_address(self, key: AddressKey) -> None:
        """Undo `set_address`."""
        bpf.delete(self.descriptors["addresses"], key.pack())

    def addresses(self) -> dict[AddressKey, tuple[int | None, bool]]:
        """Return what `set_address` has set."""
        found = {}
        for key, value in self._items("addresses", layout.ADDRESS_KEY.size, ADDRESS.size):
            rule, flags = ADDRESS.unpack(value)
            row = layout.table_row(rule)[1] if rule else None
            found[AddressKey.unpack(key)] = row, bool(flags & layout.TAKES_OUTGOING)
        return found

    def set_link(self, ifindex: int, row: int) -> None:
        """Let the program count what comes in on a link; `row` is the row of the link's counters."""
        bpf.update(self.descriptors["links"], NUMBER.pack(ifindex), NUMBER.pack(layout.cell(LINKS, row)))

    def delete_link(self, ifindex: int) -> None:
        """Undo `set_link`."""
        bpf.delete(self.descriptors["links"], NUMBER.pack(ifindex))

    def links(self) -> dict[int, int]:
        """Return the row of each link."""
        items = self._items("links", NUMBER.size, NUMBER.size)
        return {_number(key): layout.table_row(_number(value))[1] for key, value in items}

    def _write_chunks(self, route: KernelRoute) -> list[int]:
        further = route.outputs[INLINE_OUTPUTS:]
        parts = [further[at : at + CHUNK_OUTPUTS] for at in range(0, len(further), CHUNK_OUTPUTS)]
        chunks = list(range(self._last_chunk + 1, self._last_chunk + 1 + len(parts)))
        self._last_chunk += len(parts)
        for chunk, following, outputs in zip(chunks, [*chunks[1:], 0], parts, strict=False):
            octets = layout.pack_chunk(following, outputs)
            bpf.update(self.descriptors["chunks"], NUMBER.pack(chunk), octets)
        return chunks

    def _take_slot(self) -> int:
        if not self._free_slots:
            if self._used_slots == layout.MAX_FLOWS and self._retired_slots:
                self.reclaim()
                return self._take_slot()
            self._used_slots += 1
            return self._used_slots - 1
        return self._free_slots.pop()

    def _retire(self, slot: int | None, chunks: list[int]) -> None:
        if slot is not None:
            self._retired_slots.append(slot)
        self._retired_chunks += chunks

    def _read_flows(self) -> None:
        """Read which slots and chunks the flows use; the others are free."""
        for key, value in self._items("flows", layout.FLOW_KEY.size, NUMBER.size):
            self._slot_of[layout.unpack_flow_key(key)] = _number(value)
        used = set(self._slot_of.values())
        self._used_slots = max(used, default=-1) + 1
        self._free_slots = [slot for slot in range(self._used_slots) if slot not in used]
        chunks = {_number(key): value for key, value in self._items("chunks", NUMBER.size, CHUNK.size)}
        self._last_chunk = max(chunks, default=0)
        for flow, slot in self._slot_of.items():
            following = layout.first_chunk(self._read_slot(slot))
            self._chunks_of[flow] = []
            while following:
                self._chunks_of[flow].append(following)
                following = layout.next_chunk(chunks[following])
        in_use = {chunk for own in self._chunks_of.values() for chunk in own}
        self._retired_chunks = [chunk for chunk in chunks if chunk not in in_use]

    def _read_route(self, flow: Flow) -> KernelRoute:
        chunks = [
            bpf.lookup(self.descriptors["chunks"], NUMBER.pack(chunk), CHUNK.size) or bytes(CHUNK.size)
            for chunk in self._chunks_of[flow]
        ]
        return layout.unpack_route(self._read_slot(self._slot_of[flow]), chunks)

    def _read_slot(self, slot: int) -> bytes:
        octets = bpf.lookup(self._slots.ensure(slot), NUMBER.pack(slot % SEGMENT), layout.FLOW.size)
        return octets or bytes(layout.FLOW.size)

    def _items(self, name: str, key_octets: int, value_octets: int) -> Iterator[tuple[bytes, bytes]]:
        descriptor = self.descriptors[name]
        for key in list(bpf.keys(descriptor, key_octets)):
            value = bpf.lookup(descriptor, key, value_octets)
            if value is not None:
                yield key, value


def _number(octets: bytes) -> int:
    return int(NUMBER.unpack(octets)[0])
