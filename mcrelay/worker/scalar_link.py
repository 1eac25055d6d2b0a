"""The packets of a link that take the scalar path, which relays packets in plain Python if they are few.

Array operations would cost more for few packets. The scalar path relays only plain packets of flows that
accept every source. It leaves all other packets to the array path, which also counts the drops.

A worker that wakes up for one packet has cold caches: each object, function and line of code that it touches
costs more than what it computes. So a lone packet of a known microflow has a way of its own, in which little
is touched. The first packet of a microflow is read in full; for the next ones, a comparison shows that they
differ only in what is checked then: their checksums and age. Consecutive packets of a microflow leave in one
message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mcrelay.linux import sendmmsg
from mcrelay.model.counters import LINKS
from mcrelay.packet.frame import CHECKSUM_VOUCHED, TP_STATUS_LOSING, TP_STATUS_USER
from mcrelay.packet.ipv4 import CHECKSUM_MODULUS, DSCP_MASK, UDP_HEADER
from mcrelay.packet.keys import EndpointKey
from mcrelay.packet.scalar import (
    MICROFLOW,
    PAYLOAD_OFFSET,
    MicroflowKey,
    is_intact,
    read_plain,
    sum_common_halves,
)
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.packet_age import PacketAges
from mcrelay.worker.ring import Ring
from mcrelay.worker.scalar_path import (
    LAST_SOURCE,
    LAST_TIME,
    OCTETS,
    Microflow,
    ScalarPath,
    prepare_direct_run,
)

MAX_SCALAR_PACKETS = 48  # ready packets; the array path is cheaper for more
MAX_SCALAR_RUN_PACKETS = 128  # the same, if consecutive packets leave in one message
MAX_SCALAR_TURN = 1024  # packets, before other links and the supervisor have their turn
MAX_MICROFLOWS = 4096  # of a link, whose packets are known; then they are forgotten


class ScalarLink:
    """Relays the packets of a link. `row` is the row of its counters.

    `routes` has the route of each destination that accepts every source.
    """

    __slots__ = (
        "_ages", "_counts", "_iovec", "_link", "_microflows", "_path", "_refusals", "_ring", "_ring_octets",
        "_routes", "relay",
    )  # fmt: skip

    def __init__(
        self,
        path: ScalarPath,
        ring: Ring,
        row: int,
        routes: Mapping[EndpointKey, int],
        counters: CounterWriter,
        ages: PacketAges,
    ) -> None:
        self._path, self._iovec = path, path.iovec
        self._ring, self._ring_octets = ring, len(ring.memory)
        self._link, self._counts = LINKS.index(row, "packets"), counters.counts
        self._routes = routes
        self._ages = ages
        self._microflows: dict[MicroflowKey, Microflow] = {}
        self._refusals = path.refusals
        turns = self._turns(path.iovec, counters.counts)
        next(turns)
        self.relay: Callable[[], bool] = turns.__next__
        """Relay the packets that are ready; return whether none is left.

        Else the array path takes the next packet: it is not plain, has no route here, is stale, follows
        dropped packets, or is the first of many.
        """

    def _turns(self, iovec: memoryview, counts: memoryview) -> Iterator[bool]:
        """Relay what is ready and yield whether none is left: a direct run first, all else by `_relay_runs`.

        A generator has what it needs in local variables, close together, also what it knows of the microflow
        of the last packet.
        """
        ring, ages, microflows, path = self._ring, self._ages, self._microflows, self._path
        memory, size, octets_of_ring, payload = (
            ring.memory,
            ring.frame_size,
            self._ring_octets,
            ring.address + PAYLOAD_OFFSET,
        )
        unpack, send = MICROFLOW.unpack_from, sendmmsg.send_quickly
        link, link_octets = self._link, self._link + OCTETS
        is_done, flow, period, fresh_period = False, None, None, None
        last_sizes = last_start = last_middle = last_end = b""
        while True:
            yield is_done
            frame, count = ring.head * size, 0
            while memory[frame] & TP_STATUS_USER:
                status, sizes, seconds, nanoseconds, start, number, middle, checksum, end, udp_checksum = (
                    unpack(memory, frame)
                )
                if end != last_end or middle != last_middle or start != last_start or sizes != last_sizes:
                    if (
                        count
                        or (flow := microflows.get((sizes, start, middle, end))) is None
                        or not flow.direct
                    ):
                        break
                    last_sizes, last_start, last_middle, last_end = sizes, start, middle, end
                    (
                        route,
                        ip_sum,
                        octets,
                        max_run,
                        arguments,
                        messages,
                        outputs,
                        rule,
                        frame_octets,
                        source,
                    ) = flow.direct
                    rule_octets, last_time, last_source = rule + OCTETS, rule + LAST_TIME, rule + LAST_SOURCE
                if (
                    status & TP_STATUS_LOSING
                    or (ip_sum + number + checksum) % CHECKSUM_MODULUS
                    or not (
                        status & CHECKSUM_VOUCHED
                        or udp_checksum == 0
                        or is_intact(memory, frame, octets + UDP_HEADER)
                    )
                    or count == max_run
                ):
                    break
                time = seconds * 1_000_000_000 + nanoseconds
                if not count:
                    if ages.period != fresh_period:
                        period, oldest = ages.start_period(), ages.oldest_fresh()
                        if oldest is None or time < oldest:
                            break
                elif count == 1 and ring.is_ready(MAX_SCALAR_RUN_PACKETS):
                    count = 0
                    break
                iovec[2 * count], iovec[2 * count + 1] = payload + frame, octets
                count, frame = count + 1, (frame + size) % octets_of_ring
            if not count or flow is None:
                is_done, last_end = self._relay_runs(), b""
                continue
            if route.flow is not flow or route.count != count:
                path.set_up(flow, count)
            if (sent := send(*arguments)) == messages:
                length = count * octets
                for output, output_octets, own in outputs:
                    counts[output] += count
                    counts[output_octets] += length
                    if own:
                        counts[own] += count
                counts[rule] += count
                counts[rule_octets] += length
                counts[last_time], counts[last_source] = time, source
                counts[link] += count
                counts[link_octets] += count * frame_octets
                if count == 1:
                    ring.release_one()
                else:
                    ring.release_few(count)
            else:
                self._relay_run(flow, count, time, sent)
                last_end = b""
            if is_done := not memory[frame] & TP_STATUS_USER or self._relay_runs():
                fresh_period = period

    def _relay_runs(self) -> bool:
        """Relay the packets that are ready run by run; return whether none is left."""
        oldest = self._ages.oldest_fresh()
        if oldest is None:
            return False
        ring, relayed = self._ring, 0
        memory, size = ring.memory, ring.frame_size
        while memory[ring.head * size] & TP_STATUS_USER:
            flow, count, time, is_last = self._read_run(oldest)
            if flow is not None:
                self._relay_run(flow, count, time)
                relayed += count
            if is_last:
                return False
            if memory[ring.head * size] & TP_STATUS_USER:
                many = MAX_SCALAR_PACKETS if count == 1 else MAX_SCALAR_RUN_PACKETS
                if relayed > MAX_SCALAR_TURN or ring.is_ready(many):
                    return False
        return True

    def _read_run(self, oldest: int) -> tuple[Microflow | None, int, int, bool]:
        """Check packets up to the end of a run, and pass their payloads to `ScalarPath.iovec`.

        Returns the microflow (None if the first packet is for the array path), the number of packets, the
        arrival of the last one, and whether the array path takes the next one. `oldest` is the stamp of the
        oldest packet that is fresh.
        """
        ring, known, iovec, octets = self._ring, self._microflows, self._iovec, self._ring_octets
        memory, size, payload = ring.memory, ring.frame_size, ring.address + PAYLOAD_OFFSET
        frame, flow, count, latest = ring.head * size, None, 0, 0
        while memory[frame] & TP_STATUS_USER:
            status, sizes, seconds, nanoseconds, start, number, middle, checksum, end, udp_checksum = (
                MICROFLOW.unpack_from(memory, frame)
            )
            key = (sizes, start, middle, end)
            found = known.get(key) or self._learn(frame, key)
            time = seconds * 1_000_000_000 + nanoseconds
            if (
                found is None
                or (found.header_sum + number + checksum) % CHECKSUM_MODULUS
                or not (
                    status & CHECKSUM_VOUCHED
                    or udp_checksum == 0
                    or is_intact(memory, frame, found.octets + UDP_HEADER)
                )
                or status & TP_STATUS_LOSING
                or time < oldest
            ):
                return flow, count, latest, True
            if flow is None:
                flow = found
            elif found is not flow or count == flow.max_run:
                break
            elif count == 1 and ring.is_ready(MAX_SCALAR_RUN_PACKETS):
                return None, 0, 0, True
            iovec[2 * count] = payload + frame
            iovec[2 * count + 1] = found.octets
            count, latest, frame = count + 1, time, (frame + size) % octets
        return flow, count, latest, False

    def _learn(self, frame: int, key: MicroflowKey) -> Microflow | None:
        """Add the microflow of a packet, and return it; None if the array path must take the packet."""
        ring, path, known = self._ring, self._path, self._microflows
        packet = read_plain(ring.memory, frame)
        if packet is None:
            return None
        destination, source, ttl, tos, octets, source_address, frame_octets, _ = packet
        route = self._routes.get(destination)
        if route is None or source in path.own:
            return None
        prepared = path.prepare(route)
        if prepared is None or (ttl <= 1 and any(output.copies_ttl for output in prepared.copying)):
            return None
        if len(known) >= MAX_MICROFLOWS:
            known.clear()
        header_sum = sum_common_halves(ring.memory, frame)
        max_run = min(path.max_run(prepared, octets), len(ring) // 2)
        direct = prepare_direct_run(prepared, header_sum, octets, max_run, frame_octets, source_address)
        flow = known[key] = Microflow(
            prepared, header_sum, ttl, tos & DSCP_MASK, octets, frame_octets, source_address, max_run, direct
        )
        return flow

    def _relay_run(self, flow: Microflow, count: int, time: int, sent: int | None = None) -> None:
        """Send, count and release `count` packets of a microflow; `time` is the arrival of the last one.

        `sent` is as in `ScalarPath.send`.
        """
        self._path.send(flow, count, time, sent)
        if self._refusals != self._path.refusals:
            self._refusals = self._path.refusals
            self._microflows.clear()
        counts, rule, link = self._counts, flow.route.counts, self._link
        counts[rule] += count
        counts[rule + OCTETS] += count * flow.octets
        counts[rule + LAST_TIME] = time
        counts[rule + LAST_SOURCE] = flow.source_address
        counts[link] += count
        counts[link + OCTETS] += count * flow.frame_octets
        self._ring.release_few(count)
