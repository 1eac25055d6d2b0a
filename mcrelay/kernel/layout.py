"""The maps of the kernel data plane: names, sizes, limits, and the layout of keys, values and counters.

The same layouts stand in program/layout.h, as structs; a test compares them. Numbers have the byte order of
the host, except addresses and ports, which have that of the network.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mcrelay.kernel import bpf
from mcrelay.kernel.bpf import MapSpec
from mcrelay.model.addresses import address_to_bytes, number_to_address
from mcrelay.model.counters import LINKS, OUTPUTS, RULES, Table
from mcrelay.model.drops import Drop
from mcrelay.model.near_misses import NearMiss
from mcrelay.model.outputs import Dscp, Ttl
from mcrelay.model.send_errors import OTHER_ERRNO, PathFault
from mcrelay.model.state import Flow

LAYOUT_VERSION = 3
"""Another one for a change after which a program cannot use the maps of the one before, or a moved column."""

MAX_FLOWS = 65_536
MAX_OUTPUTS = 64  # of a flow
INLINE_OUTPUTS, CHUNK_OUTPUTS = 2, 4  # in a flow itself, and in each chunk with further outputs
SEGMENT = 1024  # entries of a segment, for each CPU if each has its own

# Flags of a flow, an output and an address
SOURCES, EXCLUSIVE, LEAVING, SHARED = 1, 2, 4, 8
COPY_DSCP, TAKES_PACKET = 1, 2
TAKES_OUTGOING = 1

FLOW_KEY = struct.Struct("=I4s4s2s2x")
OUTPUT = struct.Struct("=IIIHBBII44s4x")
HEADERS = struct.Struct("!2x6s6sHBBHHHBBH4s4sHHHH")  # of Ethernet, IP and UDP, in network byte order
_IP_HEADER, _ENDPOINTS = slice(16, 36), slice(28, 40)  # of a struct headers
_ETHERTYPE_IP, _IP_VERSION_WORDS, _PROTOCOL_UDP = 0x0800, 0x45, 17
FLOW = struct.Struct(f"={FLOW_KEY.size}sIIIBB2x{INLINE_OUTPUTS * OUTPUT.size}s")
CHUNK = struct.Struct(f"=II{CHUNK_OUTPUTS * OUTPUT.size}s")
ENDPOINT = struct.Struct("=4s2s2x")
ADDRESS_KEY = struct.Struct("=I4s2s2x")
ADDRESS = struct.Struct("=II")
NUMBER = struct.Struct("=I")
ADDRESS_FACTOR, ADDRESS_SHIFT = 2_654_435_769, 24  # of the multiplicative hash of an address (Knuth)
_STRUCTS = (FLOW_KEY, OUTPUT, FLOW, CHUNK, ENDPOINT, ADDRESS_KEY, ADDRESS)
SCRATCH_OCTETS = 4096  # at least those of a struct scratch

# Counters. The rows of the tables of model/counters.py are numbered one after the other, as cells. The
# program adds to the columns of HOT without a lock, so each CPU has its own. It rarely adds to those of COLD,
# which all CPUs share.
_FIRST_CELL = {id(LINKS): 0, id(RULES): LINKS.rows, id(OUTPUTS): LINKS.rows + RULES.rows}
CELLS = LINKS.rows + RULES.rows + OUTPUTS.rows
COUNT = 8  # octets of a count
HOT_COLUMNS, COLD_COLUMNS = 4, 16
LAYOUT = struct.pack("=10I", LAYOUT_VERSION, *(one.size for one in _STRUCTS), SEGMENT, COLD_COLUMNS)
"""The section `layout` of an object that is for these maps."""

_TRAFFIC = ("packets", "octets")
_FAULTS = (Drop.FRAGMENT, Drop.MALFORMED, Drop.OVERSIZE)
HOT: dict[int, tuple[str, ...]] = {
    id(LINKS): (*_TRAFFIC, Drop.NO_RULE),
    id(RULES): (*_TRAFFIC, "last_time", "last_source"),
    id(OUTPUTS): (*_TRAFFIC, Drop.TTL),
}
_NEAR_MISSES = (NearMiss.TAGGED, NearMiss.OTHER_DEVICE, NearMiss.OTHER_PORT)
SEND_ERRORS = (
    *("EMSGSIZE", "ENETDOWN", "ENOBUFS", "ENOMEM", "ENODEV", OTHER_ERRNO),
    *map(str, PathFault),
)
COLD: dict[int, tuple[str, ...]] = {
    id(LINKS): _FAULTS,
    id(RULES): (*_FAULTS, Drop.SOURCE, Drop.OWN, *(name for miss in _NEAR_MISSES for name in miss.columns)),
    id(OUTPUTS): (*SEND_ERRORS, "", "last_error_time", "last_error"),
}


def cell(table: Table, row: int) -> int:
    """Return the number of the counters of a row."""
    return _FIRST_CELL[id(table)] + row


def table_row(number: int) -> tuple[Table, int]:
    """Return the table and the row of a cell."""
    table = next(table for table in (OUTPUTS, RULES, LINKS) if number >= _FIRST_CELL[id(table)])
    return table, number - _FIRST_CELL[id(table)]


def hot_segment(cpus: int) -> MapSpec:
    """Return the definition of a segment of counters that each CPU has."""
    return MapSpec("mcr_hot_part", bpf.ARRAY, 4, COUNT * HOT_COLUMNS, cpus * SEGMENT, bpf.MMAPABLE)


COLD_SEGMENT = MapSpec("mcr_cold_part", bpf.ARRAY, 4, COUNT, COLD_COLUMNS * SEGMENT, bpf.MMAPABLE)
GRACE = MapSpec("mcr_grace", bpf.ARRAY_OF_MAPS, 4, 4, 1, inner=COLD_SEGMENT)
SLOT_SEGMENT = MapSpec("mcr_slots_part", bpf.ARRAY, 4, FLOW.size, SEGMENT)


def map_specs(cpus: int) -> dict[str, MapSpec]:
    """Return the definition of each map, by the name that the program knows it by."""

    def table(name: str, key: struct.Struct, value: struct.Struct, entries: int) -> MapSpec:
        return MapSpec(f"mcr_{name}", bpf.HASH, key.size, value.size, entries, bpf.NO_PREALLOC)

    def segments(name: str, inner: MapSpec, entries: int) -> MapSpec:
        return MapSpec(f"mcr_{name}", bpf.ARRAY_OF_MAPS, 4, 4, entries // SEGMENT, inner=inner)

    return {
        "flows": table("flows", FLOW_KEY, NUMBER, MAX_FLOWS),
        "chunks": table("chunks", NUMBER, CHUNK, OUTPUTS.rows),
        "own": table("own", ENDPOINT, NUMBER, OUTPUTS.rows),
        "own_addresses": MapSpec("mcr_own_address", bpf.ARRAY, 4, NUMBER.size, 1 << 32 - ADDRESS_SHIFT),
        "addresses": table("addresses", ADDRESS_KEY, ADDRESS, 2 * MAX_FLOWS),
        "links": table("links", NUMBER, NUMBER, LINKS.rows),
        "epochs": MapSpec("mcr_epochs", bpf.ARRAY, 4, NUMBER.size, 1),
        "slots": segments("slots", SLOT_SEGMENT, MAX_FLOWS),
        "hot": segments("hot", hot_segment(cpus), CELLS),
        "cold": segments("cold", COLD_SEGMENT, CELLS),
        "scratches": MapSpec("mcr_scratches", bpf.PERCPU_ARRAY, 4, SCRATCH_OCTETS, 3),
    }


@dataclass(frozen=True, slots=True)
class KernelOutput:
    """An output of a flow: what the program writes into the headers, and where it counts."""

    ifindex: int
    row: int
    """Row of the output's counters."""
    source: str
    source_port: int
    destination: str
    port: int
    destination_mac: bytes
    source_mac: bytes
    mtu: int
    """The longest IP packet that the device sends, in octets."""
    ttl: Ttl
    dscp: Dscp
    fault: PathFault | None = None
    """The reason why nothing is sent, under which the packets are counted."""
    taker_row: int | None = None
    """Row of the rule whose input gets what this output sends, which counts it as `own`."""

    def pack(self, takes_packet: bool) -> bytes:
        """Return the output as a struct output. One that `takes_packet` sends the packet itself, no copy."""
        headers = self._pack_headers()
        return OUTPUT.pack(
            self.ifindex,
            cell(OUTPUTS, self.row),
            0 if self.taker_row is None else cell(RULES, self.taker_row),
            min(self.mtu, 0xFFFF),
            COPY_DSCP * (self.dscp == "copy") | TAKES_PACKET * takes_packet,
            1 + SEND_ERRORS.index(str(self.fault)) if self.fault else 0,
            _sum(headers[_IP_HEADER]),
            _sum(headers[_ENDPOINTS]),
            headers,
        )

    def _pack_headers(self) -> bytes:
        """Return the headers of what is sent as a struct headers; what packets differ in is 0."""
        tos = 0 if self.dscp == "copy" else self.dscp << 2
        ttl = 0 if self.ttl == "decrement" else self.ttl
        return HEADERS.pack(
            *(self.destination_mac, self.source_mac, _ETHERTYPE_IP, _IP_VERSION_WORDS),
            *(tos, 0, 0, 0, ttl, _PROTOCOL_UDP, 0),
            *(address_to_bytes(self.source), address_to_bytes(self.destination)),
            *(self.source_port, self.port, 0, 0),
        )

    @classmethod
    def unpack(cls, octets: bytes) -> KernelOutput:
        """Return the output that `pack` returned."""
        ifindex, number, taker, mtu, flags, fault, _, _, headers = OUTPUT.unpack(octets)
        destination_mac, source_mac, _, _, tos, _, _, _, ttl, *others = HEADERS.unpack(headers)
        _, _, source, destination, source_port, port, _, _ = others
        return cls(
            ifindex=ifindex,
            row=table_row(number)[1],
            source=_address(source),
            source_port=source_port,
            destination=_address(destination),
            port=port,
            destination_mac=destination_mac,
            source_mac=source_mac,
            mtu=mtu,
            ttl=ttl or "decrement",
            dscp="copy" if flags & COPY_DSCP else tos >> 2,
            fault=PathFault(SEND_ERRORS[fault - 1]) if fault else None,
            taker_row=table_row(taker)[1] if taker else None,
        )


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """What becomes of the packets of a flow."""

    rule_row: int
    link_row: int
    outputs: tuple[KernelOutput, ...] = ()
    is_exclusive: bool = False
    """The host's stack does not get the packets."""
    is_leaving: bool = False
    """The packets belong to the workers, except those on which `ring_filter` has decided otherwise before."""
    lists_sources: bool = False
    """The flow has no source: it stands for all sources without a flow of their own, which are refused."""
    is_shared: bool = False
    """The packets of these sources belong to the workers, which relay the same flow of further sources."""

    def pack_outputs(self) -> list[bytes]:
        """Return each output as a struct output."""
        last = len(self.outputs) - 1
        return [output.pack(self.is_exclusive and index == last) for index, output in enumerate(self.outputs)]

    @property
    def flags(self) -> int:
        """The flags of a struct flow."""
        of_list = SOURCES * self.lists_sources | SHARED * self.is_shared
        return of_list | EXCLUSIVE * self.is_exclusive | LEAVING * self.is_leaving


@dataclass(frozen=True, slots=True)
class AddressKey:
    """What a packet without a flow is looked up by, to count it for a rule.

    With an ifindex and no port: the rule that counts the faults of this address on the link, and what comes
    to ports of no rule. With a port and no ifindex: the rule that counts what comes in on other links. With
    neither: packets to this unicast address are counted on every link, as those to any group are.
    """

    ifindex: int
    address: str
    port: int

    def pack(self) -> bytes:
        """Return the key as a struct address_key."""
        return ADDRESS_KEY.pack(self.ifindex, address_to_bytes(self.address), _port(self.port))

    @classmethod
    def unpack(cls, octets: bytes) -> AddressKey:
        """Return the key that `pack` returned."""
        ifindex, address, port = ADDRESS_KEY.unpack(octets)
        return cls(ifindex, _address(address), int.from_bytes(port, "big"))


def pack_flow_key(flow: Flow) -> bytes:
    """Return a flow as a struct flow_key."""
    source = address_to_bytes(flow.source) if flow.source else bytes(4)
    return FLOW_KEY.pack(flow.ifindex, address_to_bytes(flow.destination), source, _port(flow.port))


def unpack_flow_key(octets: bytes) -> Flow:
    """Return the flow of a struct flow_key."""
    ifindex, destination, source, port = FLOW_KEY.unpack(octets)
    allowed = _address(source) if any(source) else None
    return Flow(ifindex, _address(destination), int.from_bytes(port, "big"), allowed)


def pack_slot(flow: Flow, route: KernelRoute, first_chunk: int) -> bytes:
    """Return a struct flow; the outputs that it has no room for are in chunks, of which this is the first."""
    outputs = route.pack_outputs()[:INLINE_OUTPUTS]
    rule, link = cell(RULES, route.rule_row), cell(LINKS, route.link_row)
    return FLOW.pack(
        pack_flow_key(flow), rule, link, first_chunk, route.flags, len(outputs), b"".join(outputs)
    )


def unpack_route(slot: bytes, chunks: Sequence[bytes]) -> KernelRoute:
    """Return the route of a struct flow and of its chunks."""
    _, rule, link, _, flags, count, inline = FLOW.unpack(slot)
    outputs = _unpack_outputs(inline, count)
    for chunk in chunks:
        _, count, further = CHUNK.unpack(chunk)
        outputs += _unpack_outputs(further, count)
    return KernelRoute(
        rule_row=table_row(rule)[1],
        link_row=table_row(link)[1],
        outputs=tuple(outputs),
        is_exclusive=bool(flags & EXCLUSIVE),
        is_leaving=bool(flags & LEAVING),
        lists_sources=bool(flags & SOURCES),
        is_shared=bool(flags & SHARED),
    )


def first_chunk(slot: bytes) -> int:
    """Return the number of the first chunk of a struct flow, 0 if it has none."""
    return int(FLOW.unpack(slot)[3])


def next_chunk(chunk: bytes) -> int:
    """Return the number of the chunk that follows a struct chunk, 0 if it is the last one."""
    return int(CHUNK.unpack(chunk)[0])


def pack_chunk(following: int, outputs: Sequence[bytes]) -> bytes:
    """Return a struct chunk; `following` is the number of the next chunk, 0 if this is the last one."""
    return CHUNK.pack(following, len(outputs), b"".join(outputs))


def _unpack_outputs(octets: bytes, count: int) -> list[KernelOutput]:
    """Return the first `count` outputs of an array of struct output."""
    return [
        KernelOutput.unpack(octets[at : at + OUTPUT.size])
        for at in range(0, count * OUTPUT.size, OUTPUT.size)
    ]


def pack_endpoint(address: str, port: int) -> bytes:
    """Return an address and a port as a struct endpoint."""
    return ENDPOINT.pack(address_to_bytes(address), _port(port))


def unpack_endpoint(octets: bytes) -> tuple[str, int]:
    """Return the address and the port of a struct endpoint."""
    address, port = ENDPOINT.unpack(octets)
    return _address(address), int.from_bytes(port, "big")


def group_mac(group: str) -> bytes:
    """Return the Ethernet address of a group (RFC 1112)."""
    octets = address_to_bytes(group)
    return bytes((0x01, 0x00, 0x5E, octets[1] & 0x7F, octets[2], octets[3]))


def address_hash(address: str) -> int:
    """Return the index of `own_addresses` for an address."""
    number = int.from_bytes(address_to_bytes(address), "big")
    return (number * ADDRESS_FACTOR & 0xFFFFFFFF) >> ADDRESS_SHIFT


def _sum(octets: bytes) -> int:
    """Return the sum of the words of 16 bits, from which the checksum is made (RFC 1071)."""
    return sum(struct.unpack(f"={len(octets) // 2}H", octets))


def _port(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _address(octets: bytes) -> str:
    return number_to_address(int.from_bytes(octets, "big"))
