"""Notes what becomes of a traced rule's packets, and of those that nearly were such.

Nothing here runs while no rule is traced. What a trace costs is bounded: of packets beyond its allowance only
the number is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.fib import NO_ROUTE, Fib
from mcrelay.packet.frame import (
    CAPTURED,
    LENGTH,
    NANOSECONDS,
    NETWORK_OFFSET,
    SECONDS,
    STATUS,
    TP_STATUS_VLAN_VALID,
    VLAN,
)
from mcrelay.packet.headers import Fault, Headers, link_octets
from mcrelay.tracing.ring import (
    EXPIRED,
    MOST_OUTCOMES,
    NO_VLAN,
    SENT,
    SLOT_SIZE,
    Event,
    Head,
    Outcome,
    PacketVerdict,
)
from mcrelay.worker.egress import Sent
from mcrelay.worker.trace_writer import TraceWriter

Column = NDArray[np.int64]

_LAST = np.array([-1])
_NONE_FAILED = np.empty((0, 4), np.int64)
_FEW = 8  # values that are looked for one by one
_LONGEST_PAYLOAD = 0xFFFF
_VLAN_NUMBER = 0x0FFF  # of the tag control information (IEEE 802.1Q)
_VERDICTS = {
    Fault.TAGGED: PacketVerdict.TAGGED,
    Fault.MALFORMED: PacketVerdict.MALFORMED,
    Fault.OVERSIZE: PacketVerdict.OVERSIZE,
    Fault.FRAGMENT: PacketVerdict.FRAGMENT,
}


@dataclass(frozen=True, slots=True)
class TracedPackets:
    """A traced rule on one link: its routes and destinations there."""

    pen: TraceWriter
    routes: Column
    destinations: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Copies:
    """The outputs of a route in their order, and what becomes of a packet that all of them send."""

    outputs: list[int]
    sent: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Relayed:
    """The packets of a batch that were sent, in the order of their payloads, and what became of these."""

    packets: Column | slice
    sent: Sent

    def place(self, packet: int) -> int:
        """Return the place of a packet's payload."""
        return packet if isinstance(self.packets, slice) else int(np.flatnonzero(self.packets == packet)[0])

    def failures(self) -> Column:
        """Return what was not sent: output, first payload, the one after the last, code; shape (n, 4)."""
        unsent = [(one.output, one.first, one.first + one.count, one.code) for one in self.sent.unsent]
        failures = np.array(unsent, np.int64).reshape(-1, 4)
        if expired := self.sent.expired:
            code = np.full(len(expired.output), EXPIRED)
            others = (expired.output, expired.first, expired.first + expired.count, code)
            failures = np.concatenate((failures, np.stack(others, axis=1)))
        return failures


@dataclass(frozen=True, slots=True)
class Batch:
    """The packets of a batch, and what became of those that were sent."""

    frames: NDArray[np.uint32]
    packets: Headers
    route: Column
    """NO_ROUTE where a packet was not sent."""
    relayed: Relayed | None


class TraceCapture:
    """The traced rules of one link, ready to be noted."""

    def __init__(
        self,
        ifindex: int,
        fib: Fib,
        rules: Sequence[TracedPackets],
        copies: Mapping[int, Copies],
    ) -> None:
        self._ifindex, self._fib, self._rules, self._copies = ifindex, fib, rules, copies
        self._destinations = np.concatenate([rule.destinations for rule in rules])

    @property
    def routes(self) -> frozenset[int]:
        """The routes of which every packet is to be noted."""
        return frozenset(self._copies)

    def note(self, batch: Batch) -> None:
        """Write the events of a batch, before its frames are given back."""
        destination = batch.packets.destination
        missed = np.flatnonzero((batch.route == NO_ROUTE) & _is_among(destination, self._destinations))
        judged, owner = self._judged(batch.packets, missed)
        verdict = np.full(len(batch.route), int(PacketVerdict.RELAYED))
        verdict[missed] = judged
        now = int(_times(batch.frames, _LAST)[0])
        for rule in self._rules:
            is_near = _is_among(owner, rule.routes)
            is_near |= (owner == NO_ROUTE) & _is_among(destination[missed], rule.destinations)
            relayed = np.flatnonzero(_is_among(batch.route, rule.routes))
            noted = rule.pen.chosen(_merged(relayed, missed[is_near]), now)
            if len(noted):
                for event in self._events(batch, noted, verdict[noted]):
                    rule.pen.write(event)

    def _judged(self, packets: Headers, missed: Column) -> tuple[Column, Column]:
        """Return why these packets were not relayed, and the route that they would have taken, if any."""
        if not len(missed):
            return missed, missed
        owner, forbidden = self._fib.lookup(packets.flow[missed], packets.origin[missed])
        verdict = np.where(owner == NO_ROUTE, int(PacketVerdict.NO_RULE), int(PacketVerdict.OWN))
        if forbidden is not None:
            verdict[forbidden] = PacketVerdict.SOURCE
        if packets.fault is not None:
            fault = packets.fault[missed]
            for one, its_verdict in _VERDICTS.items():
                verdict[fault == one] = its_verdict
            owner[fault != Fault.NONE] = NO_ROUTE
        return verdict, owner

    def _events(self, batch: Batch, rows: Column, verdict: Column) -> Iterator[Event]:
        octets = batch.frames.view(np.uint8)
        kept = batch.frames[rows, CAPTURED].astype(np.int64) - link_octets(batch.frames)
        ends = NETWORK_OFFSET + np.clip(kept, 0, SLOT_SIZE)
        heads = self._heads(batch, rows, verdict)
        failures = batch.relayed.failures() if batch.relayed else _NONE_FAILED
        for head, row, end in zip(heads, rows.tolist(), ends.tolist(), strict=True):
            outcomes = self._outcomes(batch, row, failures) if head.verdict is PacketVerdict.RELAYED else ()
            packet = octets[row, NETWORK_OFFSET:end].tobytes()
            yield Event(head, outcomes, len(outcomes), packet)

    def _heads(self, batch: Batch, rows: Column, verdict: Column) -> Iterator[Head]:
        frames, packets = batch.frames, batch.packets
        columns = (
            _times(frames, rows),
            packets.source[rows],
            packets.destination[rows],
            frames[rows, LENGTH] - np.uint32(link_octets(frames)),
            np.clip(packets.length[rows], 0, _LONGEST_PAYLOAD),
            _ports(packets.origin[rows], 32),
            _ports(packets.flow[rows], 48),
            _vlans(frames, rows),
            verdict,
            packets.ttl[rows],
            packets.tos[rows],
        )
        for time, source, destination, *fields, judged, ttl, tos in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            yield Head._make(
                (time, self._ifindex, source, destination, *fields, PacketVerdict(judged), ttl, tos)
            )

    def _outcomes(self, batch: Batch, row: int, failures: Column) -> tuple[Outcome, ...]:
        """Return what became of each copy of a relayed packet; of very many, the failures come first."""
        copies = self._copies[int(batch.route[row])]
        if not len(failures):
            return copies.sent
        assert batch.relayed is not None
        place = batch.relayed.place(row)
        its_own = failures[(failures[:, 1] <= place) & (place < failures[:, 2])]
        codes = dict(its_own[:, [0, 3]].tolist())
        outcomes = [
            outcome._replace(code=codes.get(output, SENT))
            for output, outcome in zip(copies.outputs, copies.sent, strict=True)
        ]
        if len(outcomes) > MOST_OUTCOMES:
            outcomes.sort(key=lambda outcome: outcome.code == SENT)
        return tuple(outcomes)


def _ports(words: NDArray[np.uint64], place: int) -> NDArray[np.uint16]:
    """Return the ports that stand in words at that place, in the order of their octets on the wire."""
    ports: NDArray[np.uint16] = (words >> np.uint64(place)).astype(np.uint16).byteswap()
    return ports


def _is_among(values: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which values are wanted ones."""
    if len(wanted) > _FEW:
        return np.isin(values, wanted)
    found = np.zeros(len(values), np.bool_)
    for one in wanted:
        found |= values == one
    return found


def _merged(rows: Column, others: Column) -> Column:
    """Return both, ascending."""
    return np.sort(np.concatenate((rows, others))) if len(others) else rows


def _times(frames: NDArray[np.uint32], rows: Column) -> Column:
    """Return when packets came, in nanoseconds."""
    nanoseconds: Column = frames[rows, SECONDS].astype(np.int64) * 1_000_000_000 + frames[rows, NANOSECONDS]
    return nanoseconds


def _vlans(frames: NDArray[np.uint32], rows: Column) -> Column:
    is_tagged = (frames[rows, STATUS] & TP_STATUS_VLAN_VALID) != 0
    vlans: Column = np.where(is_tagged, frames[rows, VLAN] & _VLAN_NUMBER, NO_VLAN)
    return vlans
