"""Statistics of the packets of many flows, with exact counts in memory of constant size for each flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mcrelay.traffic.probe import ProbeChecks

Column: TypeAlias = NDArray[np.int64]

WINDOW_NUMBERS = 1 << 17  # a packet that is later than this counts as stale
MAX_FLOWS = 1000  # so that forged source addresses cannot fill the memory

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


class SequenceTracker:
    """Tracks the sequence numbers of one flow, and counts received, duplicated, reordered and lost packets.

    `received` counts different packets, `duplicated` further copies of these. `reordered` counts packets that
    arrived after a packet with a higher number, as in RFC 4737; it does not count further copies. `lost` is
    the number of packets missing between the lowest and the highest number. All counts are exact, except that
    a packet `window` or more numbers behind the highest number is counted as `stale` only.
    """

    def __init__(self, window: int = WINDOW_NUMBERS) -> None:
        self.received = self.duplicated = self.reordered = self.stale = 0
        self.lowest = self.highest = -1  # no packet yet
        self._window = window
        self._seen = np.zeros(2 * window, np.bool_)  # indexed by the number modulo the size

    @property
    def lost(self) -> int:
        """The number of missing packets between the lowest and the highest."""
        return self.highest - self.lowest + 1 - self.received if self.received else 0

    def count(self, numbers: Column) -> None:
        """Count packets with these numbers, which are in the order of arrival."""
        if not self.received:
            self.lowest, self.highest = int(numbers[0]), int(numbers[0]) - 1
        # Half of `_seen` is for the window, the other half for the numbers that a batch adds to it. A batch
        # that adds more, after a long gap, is split. A single packet may be any distance ahead.
        if len(numbers) > 1 and int(numbers.max()) - self.highest > self._window:
            self.count(numbers[: len(numbers) // 2])
            self.count(numbers[len(numbers) // 2 :])
        elif numbers[0] > self.highest and (numbers[1:] > numbers[:-1]).all():
            self._advance(int(numbers[-1]))
            self._register(numbers)
        else:
            self._count_unordered(numbers)

    def _count_unordered(self, numbers: Column) -> None:
        highest_before = np.maximum.accumulate(np.concatenate(([self.highest], numbers[:-1])))
        recent = numbers > highest_before - self._window
        self._advance(int(numbers.max()))
        different, first = np.unique(numbers[recent], return_index=True)
        new = ~self._seen[different % len(self._seen)]
        self.stale += len(numbers) - int(recent.sum())
        self.duplicated += int(recent.sum()) - int(new.sum())
        self.reordered += int((different < highest_before[recent][first])[new].sum())
        self._register(different[new])

    def _advance(self, highest: int) -> None:
        """Set the highest number, and clear the entries of the new numbers, which older numbers have used."""
        start, count = self.highest + 1, min(highest - self.highest, len(self._seen))
        if count > 0:
            index = start % len(self._seen)
            self._seen[index : index + count] = False
            self._seen[: max(0, index + count - len(self._seen))] = False
            self.highest = highest

    def _register(self, numbers: Column) -> None:
        self._seen[numbers % len(self._seen)] = True
        self.received += len(numbers)
        if len(numbers):
            self.lowest = min(self.lowest, int(numbers.min()))


class LatencyHistogram:
    """Counts latencies in buckets whose width is about 1 % of the latency.

    Minimum and maximum are exact; quantiles are accurate to about 1 %. A latency is negative if the clock of
    the sender is ahead of that of the receiver; negative latencies have buckets of their own.
    """

    _STEPS = 64  # buckets for each doubling: 2**(1/64) is 1.011
    _ZERO = 63 * _STEPS + 1  # index of the bucket of 0 ns; the last bucket is that of 2**63 ns

    def __init__(self) -> None:
        self.lowest, self.highest = 2**63, -(2**63)
        self._buckets = np.zeros(2 * self._ZERO + 1, np.int64)

    def count(self, nanoseconds: Column) -> None:
        """Count packets with these latencies."""
        self.lowest = min(self.lowest, int(nanoseconds.min()))
        self.highest = max(self.highest, int(nanoseconds.max()))
        scaled = np.log2(np.abs(nanoseconds.astype(np.float64)) + 1) * self._STEPS
        buckets = self._ZERO + np.rint(np.copysign(scaled, nanoseconds)).astype(np.int64)
        start = int(buckets.min())
        counts = np.bincount(buckets - start)  # only as long as the spread of this batch
        self._buckets[start : start + len(counts)] += counts

    def add(self, other: LatencyHistogram) -> None:
        """Add the counts of another histogram."""
        self.lowest, self.highest = min(self.lowest, other.lowest), max(self.highest, other.highest)
        self._buckets += other._buckets

    def summarize(self) -> dict[str, float] | None:
        """Return minimum, quantiles and maximum in microseconds, or None if no packet was counted."""
        upto = np.cumsum(self._buckets)
        if not upto[-1]:
            return None
        quantiles = {
            name: self._value(int(np.searchsorted(upto, q * upto[-1]))) for name, q in QUANTILES.items()
        }
        summary = {"min": self.lowest, **quantiles, "max": self.highest}
        return {name: round(nanoseconds / 1000, 1) for name, nanoseconds in summary.items()}

    def _value(self, bucket: int) -> float:
        """Return the latency of a bucket in nanoseconds, limited to the range of the counted latencies."""
        distance = bucket - self._ZERO
        middle = np.copysign(2 ** (abs(distance) / self._STEPS) - 1, distance)
        return float(min(max(middle, self.lowest), self.highest))


class FlowId(NamedTuple):
    """Identifies a flow; `flow` is None for packets that `mcrelay send` did not send."""

    destination: str  # 239.1.1.1:5001
    source: int  # IPv4 address
    source_port: int
    flow: int | None


@dataclass(frozen=True, slots=True)
class ArrivalBatch:
    """Packets that arrived at one destination, in the order of arrival. All columns are int64 of shape (n,).

    `length` is the payload in octets, `source` an IPv4 address, `time` the arrival in nanoseconds since 1970.
    """

    length: Column
    source: Column
    source_port: Column
    ttl: Column
    tos: Column
    time: Column
    checks: ProbeChecks


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """The counts of one flow, or of several together.

    `packets` and `octets` (of payload) count all packets that arrived. Of these packets, `received` counts
    different intact probes, `duplicated` and `stale` further intact probes, `corrupt` damaged probes, and
    `foreign` all others. A corrupt packet does not count as received, so its number counts as `lost`.
    """

    packets: int
    octets: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    stale: int
    corrupt: int
    foreign: int
    ttl: tuple[int, ...]
    dscp: tuple[int, ...]
    seconds: float
    latency_us: dict[str, float] | None

    @property
    def packets_per_second(self) -> float:
        """The mean rate between the first packet and the last."""
        return (self.packets - 1) / self.seconds if self.seconds else 0.0

    @property
    def megabits_per_second(self) -> float:
        """The mean rate of payload between the first packet and the last."""
        return self.packets_per_second * self.octets * 8 / self.packets / 1e6 if self.packets else 0.0


class FlowStatistics:
    """Counts the packets of one flow."""

    def __init__(self) -> None:
        self.sequence = SequenceTracker()
        self.latency = LatencyHistogram()
        self.packets = self.octets = self.corrupt = self.foreign = 0
        self.ttl: set[int] = set()
        self.dscp: set[int] = set()
        self.began, self.ended = 2**63, 0

    def count(self, batch: ArrivalBatch, rows: NDArray[np.intp]) -> None:
        """Count these rows of a batch, which must all belong to this flow."""
        time, checks = batch.time[rows], batch.checks
        intact = rows[checks.intact[rows]]
        ours = int(checks.ours[rows].sum())
        self.packets += len(rows)
        self.octets += int(batch.length[rows].sum())
        self.foreign += len(rows) - ours
        self.corrupt += ours - len(intact)
        self.ttl.update(np.unique(batch.ttl[rows]).tolist())
        self.dscp.update(np.unique(batch.tos[rows] >> 2).tolist())
        self.began, self.ended = min(self.began, int(time.min())), max(self.ended, int(time.max()))
        if len(intact):
            self.sequence.count(checks.sequence[intact])
            self.latency.count(batch.time[intact] - checks.time[intact])


class Reception:
    """Counts the packets of the first `max_flows` flows, and counts all other packets as `unlisted`."""

    def __init__(self, max_flows: int = MAX_FLOWS) -> None:
        self.flows: dict[FlowId, FlowStatistics] = {}
        self.unlisted = 0
        self._max_flows = max_flows

    def count(self, destination: str, batch: ArrivalBatch) -> None:
        """Count a batch that arrived at `destination`, in the order of its rows."""
        for source, source_port, label, rows in _split_by_flow(batch):
            key = FlowId(destination, source, source_port, None if label < 0 else label)
            if key not in self.flows and len(self.flows) >= self._max_flows:
                self.unlisted += len(rows)
                continue
            self.flows.setdefault(key, FlowStatistics()).count(batch, rows)


def _split_by_flow(batch: ArrivalBatch) -> Iterator[tuple[int, int, int, NDArray[np.intp]]]:
    """Yield source, source port, flow (-1 if unknown) and row indexes of each flow in a batch."""
    label = np.where(batch.checks.known, batch.checks.flow, -1)
    rest = np.arange(len(label))
    while len(rest):
        source, port, flow = batch.source[rest[0]], batch.source_port[rest[0]], label[rest[0]]
        same = (batch.source[rest] == source) & (batch.source_port[rest] == port) & (label[rest] == flow)
        yield int(source), int(port), int(flow), rest[same]
        rest = rest[~same]


def sum_counts(flows: Iterable[FlowStatistics]) -> FlowCounts:
    """Return the counts of several flows together."""
    flows = list(flows)
    latency = LatencyHistogram()
    for flow in flows:
        latency.add(flow.latency)
    sequences = [flow.sequence for flow in flows]
    began, ended = (
        min((flow.began for flow in flows), default=0),
        max((flow.ended for flow in flows), default=0),
    )
    return FlowCounts(
        packets=sum(flow.packets for flow in flows),
        octets=sum(flow.octets for flow in flows),
        received=sum(sequence.received for sequence in sequences),
        lost=sum(sequence.lost for sequence in sequences),
        duplicated=sum(sequence.duplicated for sequence in sequences),
        reordered=sum(sequence.reordered for sequence in sequences),
        stale=sum(sequence.stale for sequence in sequences),
        corrupt=sum(flow.corrupt for flow in flows),
        foreign=sum(flow.foreign for flow in flows),
        ttl=tuple(sorted(set().union(*(flow.ttl for flow in flows)))),
        dscp=tuple(sorted(set().union(*(flow.dscp for flow in flows)))),
        seconds=(ended - began) / 1e9,
        latency_us=latency.summarize(),
    )
