"""What the maps of the kernel data plane hold, in the words of model/state.py.

A packet takes either the whole old route of a flow or the whole new one. The kernel may reuse the memory of
an entry that is replaced or deleted while the program still reads it. So an entry of `flows` is only the
number of a slot, and the program checks that the slot has the flow. A slot and its chunks never change while
the program may read them: a new route gets new ones, then the entry of the flow is replaced. What the old
route used is retired, and used again only after `reclaim` has waited until no CPU reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from mcrelay.kernel import layout
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.layout import (
    ADDRESS,
    CHUNK_OUTPUTS,
    INLINE_OUTPUTS,
    NUMBER,
    SEGMENT,
    AddressKey,
    KernelRoute,
)
from mcrelay.kernel.segments import KeepMap, Segments, create
from mcrelay.model.counters import LINKS, RULES, Table
from mcrelay.model.state import Flow

_POSSIBLE_CPUS = Path("/sys/devices/system/cpu/possible")


def possible_cpus() -> int:
    """Return the number of CPUs that the kernel may ever use."""
    last = _POSSIBLE_CPUS.read_text().strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


def create_maps(cpus: int) -> dict[str, int]:
    """Return the descriptors of new and empty maps by their names; raises OSError."""
    return {name: create(spec) for name, spec in layout.map_specs(cpus).items()}


class KernelMaps:
    """The maps. Every operation raises OSError if bpf(2) fails."""

    def __init__(
        self, descriptors: dict[str, int], cpus: int, keep: KeepMap = lambda name, descriptor: None
    ) -> None:
        """`descriptors` has all maps and segments that exist, by their names, and gets the new segments.

        `keep` is called for each new segment before the program may use it.
        """
        self.descriptors = descriptors
        self.cpus = cpus
        self._flows, self._chunks = self._table("flows"), self._table("chunks")
        self._own, self._addresses, self._links = map(self._table, ("own", "addresses", "links"))
        self._own_addresses, self._epochs = self._table("own_addresses"), self._table("epochs")
        specs = layout.map_specs(cpus)
        self._hot = Segments("hot", specs["hot"], descriptors, keep, is_frozen=True)
        self._cold = Segments("cold", specs["cold"], descriptors, keep, is_frozen=True)
        self._slots = Segments("slots", specs["slots"], descriptors, keep)
        self._grace: tuple[BpfMap, int] | None = None
        self._slot_of: dict[Flow, int]
        self._chunks_of: dict[Flow, list[int]]
        self._free_slots: list[int]
        self._retired_slots: list[int]
        self._retired_chunks: list[int]
        self._read_flows()

    def _table(self, name: str) -> BpfMap:
        spec = layout.map_specs(self.cpus)[name]
        return BpfMap(self.descriptors[name], spec.key_octets, spec.value_octets)

    @property
    def writes(self) -> int:
        """The number of entries of flows, own endpoints, addresses and links that were written or deleted."""
        return sum(table.writes for table in (self._flows, self._own, self._addresses, self._links))

    def set_flow(self, flow: Flow, route: KernelRoute) -> None:
        """Set the route of a flow. Every packet takes either the old or the new route."""
        self.set_flows({flow: route})

    def set_flows(self, routes: Mapping[Flow, KernelRoute]) -> None:
        """Set the routes of flows, each as `set_flow` does, with few system calls."""
        chunks: dict[bytes, bytes] = {}
        segments: dict[int, dict[bytes, bytes]] = {}
        places: dict[Flow, tuple[int, list[int]]] = {}
        for flow, route in routes.items():
            slot, further = self._take_slot(), self._pack_chunks(route, chunks)
            octets = layout.pack_slot(flow, route, further[0] if further else 0)
            segments.setdefault(slot // SEGMENT, {})[NUMBER.pack(slot % SEGMENT)] = octets
            places[flow] = slot, further
        try:
            self._chunks.update_many(chunks)
            for index, slots in segments.items():
                self._slots.segment(index * SEGMENT).update_many(slots)
            self.use_segments()
            keys = {layout.pack_flow_key(flow): NUMBER.pack(slot) for flow, (slot, _) in places.items()}
            self._flows.update_many(keys)
        except OSError:
            self.grace()
            self._read_flows()  # some of them may have been set
            raise
        for flow, (slot, further) in places.items():
            self._retire(flow)
            self._slot_of[flow], self._chunks_of[flow] = slot, further

    def delete_flow(self, flow: Flow) -> None:
        """Delete a flow; nothing happens if it is not there."""
        self.delete_flows([flow])

    def delete_flows(self, flows: Collection[Flow]) -> None:
        """Delete the flows that are there, with few system calls."""
        self._flows.delete_many([layout.pack_flow_key(flow) for flow in flows])
        for flow in flows:
            self._retire(flow)

    def flows(self) -> dict[Flow, KernelRoute]:
        """Return the route of each flow, as the maps have it."""
        slots, chunks = self._read_slots(), self._read_chunks()
        return {
            flow: layout.unpack_route(slots[slot], [chunks[number] for number in self._chunks_of[flow]])
            for flow, slot in self._slot_of.items()
        }

    def grace(self) -> None:
        """Wait until no CPU reads what an entry had before it was replaced or deleted.

        The kernel waits for that itself after a change of any map of maps (maybe_wait_bpf_programs).
        """
        if self._grace is None:
            outer = BpfMap(create(layout.GRACE), 4, 4)
            self._grace = outer, create(layout.COLD_SEGMENT)
        outer, inner = self._grace
        outer.update(NUMBER.pack(0), NUMBER.pack(inner))

    def begin_epoch(self) -> None:
        """Void what `ring_filter` has decided before; call it when a device has got the program."""
        (epoch,) = self._epochs.items().values()
        self._epochs.update(NUMBER.pack(0), NUMBER.pack((_number(epoch) + 1) % 2**32))
        self.grace()

    def reclaim(self) -> None:
        """Wait as `grace` does, and make room of what old routes used. Call it after a batch of changes."""
        if self._retired_slots or self._retired_chunks:
            self.grace()
            self._chunks.delete_many([NUMBER.pack(chunk) for chunk in self._retired_chunks])
            self._free_slots += self._retired_slots
            self._retired_slots, self._retired_chunks = [], []

    def room(self) -> tuple[int, int]:
        """Return how many slots and chunks have been in use at once."""
        return self._used_slots, len(self._chunks.items())

    def ensure_cells(self, table: Table, row: int) -> None:
        """Let the counters of a row exist; the program does not count where they are missing.

        The program counts there after the next `set_flows` or `use_segments`.
        """
        self._hot.segment(layout.cell(table, row))
        self._cold.segment(layout.cell(table, row))

    def use_segments(self) -> None:
        """Let the program use the counters of `ensure_cells`."""
        for segments in (self._hot, self._cold, self._slots):
            segments.use()

    def set_own(self, address: str, port: int) -> None:
        """Let the packets from an endpoint be counted as `own`: an output of the relay sends from there.

        `own_addresses` keeps what is set: it only spares the lookup of other addresses.
        """
        self._own_addresses.update(NUMBER.pack(layout.address_hash(address)), NUMBER.pack(1))
        self._own.update(layout.pack_endpoint(address, port), NUMBER.pack(1))

    def delete_own(self, address: str, port: int) -> None:
        """Undo `set_own`."""
        self._own.delete(layout.pack_endpoint(address, port))

    def own(self) -> set[tuple[str, int]]:
        """Return the endpoints of `set_own`."""
        return {layout.unpack_endpoint(key) for key in self._own.items()}

    def set_address(self, key: AddressKey, rule_row: int | None, takes_outgoing: bool = False) -> None:
        """Set the rule that counts faults and near misses of an address; see `AddressKey`.

        With `takes_outgoing`, rings get what this host sends to the address (key without a port).
        """
        rule = 0 if rule_row is None else layout.cell(RULES, rule_row)
        self._addresses.update(key.pack(), ADDRESS.pack(rule, takes_outgoing))

    def delete_address(self, key: AddressKey) -> None:
        """Undo `set_address`."""
        self._addresses.delete(key.pack())

    def addresses(self) -> dict[AddressKey, tuple[int | None, bool]]:
        """Return what `set_address` has set."""
        found = {}
        for key, value in self._addresses.items().items():
            rule, flags = ADDRESS.unpack(value)
            row = layout.table_row(rule)[1] if rule else None
            found[AddressKey.unpack(key)] = row, bool(flags & layout.TAKES_OUTGOING)
        return found

    def set_link(self, ifindex: int, row: int) -> None:
        """Let the program count what comes in on a link; `row` is the row of the link's counters."""
        self._links.update(NUMBER.pack(ifindex), NUMBER.pack(layout.cell(LINKS, row)))

    def delete_link(self, ifindex: int) -> None:
        """Undo `set_link`."""
        self._links.delete(NUMBER.pack(ifindex))

    def links(self) -> dict[int, int]:
        """Return the row of each link."""
        items = self._links.items().items()
        return {_number(key): layout.table_row(_number(value))[1] for key, value in items}

    def _pack_chunks(self, route: KernelRoute, packed: dict[bytes, bytes]) -> list[int]:
        """Add the chunks of a route to `packed`, and return their numbers."""
        if len(route.outputs) <= INLINE_OUTPUTS:
            return []
        further = route.pack_outputs()[INLINE_OUTPUTS:]
        parts = [further[at : at + CHUNK_OUTPUTS] for at in range(0, len(further), CHUNK_OUTPUTS)]
        chunks = list(range(self._last_chunk + 1, self._last_chunk + 1 + len(parts)))
        self._last_chunk += len(parts)
        for chunk, following, part in zip(chunks, [*chunks[1:], 0], parts, strict=False):
            packed[NUMBER.pack(chunk)] = layout.pack_chunk(following, part)
        return chunks

    def _take_slot(self) -> int:
        if not self._free_slots and self._used_slots == layout.MAX_FLOWS:
            self.reclaim()
        if self._free_slots:
            return self._free_slots.pop()
        self._used_slots += 1
        return self._used_slots - 1

    def _retire(self, flow: Flow) -> None:
        """Retire what a flow used, if it was there."""
        slot = self._slot_of.pop(flow, None)
        if slot is not None:
            self._retired_slots.append(slot)
            self._retired_chunks += self._chunks_of.pop(flow)

    def _read_flows(self) -> None:
        """Read which slots and chunks the flows use; the others are free."""
        self._slot_of = {
            layout.unpack_flow_key(key): _number(value) for key, value in self._flows.items().items()
        }
        used = set(self._slot_of.values())
        self._used_slots = max(used, default=-1) + 1
        self._free_slots = [slot for slot in range(self._used_slots) if slot not in used]
        self._retired_slots = []
        slots, chunks = self._read_slots(), self._read_chunks()
        self._last_chunk = max(chunks, default=0)
        self._chunks_of = {}
        for flow, slot in self._slot_of.items():
            following = layout.first_chunk(slots[slot])
            self._chunks_of[flow] = []
            while following in chunks:
                self._chunks_of[flow].append(following)
                following = layout.next_chunk(chunks[following])
        in_use = {chunk for chunks_of_flow in self._chunks_of.values() for chunk in chunks_of_flow}
        self._retired_chunks = [chunk for chunk in chunks if chunk not in in_use]

    def _read_slots(self) -> dict[int, bytes]:
        """Return the struct flow of each slot that may be in use."""
        return {
            first + _number(key): value
            for first in range(0, self._used_slots, SEGMENT)
            for key, value in self._slots.segment(first).items().items()
        }

    def _read_chunks(self) -> dict[int, bytes]:
        return {_number(key): value for key, value in self._chunks.items().items()}


def _number(octets: bytes) -> int:
    return int(NUMBER.unpack(octets)[0])
