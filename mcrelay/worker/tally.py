"""Counts what became of each packet, in the memory that outlives the worker."""

from __future__ import annotations

import errno
import mmap

import numpy as np
from numpy.typing import NDArray

from mcrelay.counters import LINKS, MEMORY_SIZE, OTHER_ERRNO, OUTPUTS, RULES, SEND_ERRNOS, Table
from mcrelay.worker.egress import Sent

Column = NDArray[np.int64]


class Tally:
    """The tables of counters.py as arrays of uint64, shape (rows, columns)."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, MEMORY_SIZE)
        self.numbers = memoryview(self._memory).cast("Q")
        """All counts; `Table.place` says which is where."""
        self.links = self._table(LINKS)
        self.rules = self._table(RULES)
        self.outputs = self._table(OUTPUTS)
        self._error_column = {code: OUTPUTS.column(errno.errorcode[code]) for code in SEND_ERRNOS}

    def _table(self, table: Table) -> NDArray[np.uint64]:
        count = table.rows * len(table.columns)
        return np.frombuffer(self._memory, np.uint64, count, table.offset).reshape(table.rows, -1)

    def add_link(self, row: int, **counts: int) -> None:
        """Add to a link's counters by name."""
        for name, count in counts.items():
            self.links[row, LINKS.column(name)] += np.uint64(count)

    def add_rule_drops(self, rows: Column, reason: str) -> None:
        """Count one packet for each of `rows` under a drop reason."""
        np.add.at(self.rules[:, RULES.column(reason)], rows, np.uint64(1))

    def add_relayed(self, rows: Column, length: Column, source: NDArray[np.uint32], time: int) -> None:
        """Count packets that their rules relay: row of the rule, payload octets and source, shape (n,) each.

        `time` is that of the last one, nanoseconds of CLOCK_REALTIME.
        """
        if (rows == rows[0]).all():
            self._relayed(int(rows[0]), len(rows), int(length.sum()), int(source[-1]), time)
            return
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
        stops = np.append(starts[1:], len(ordered))
        row = ordered[starts]
        self.rules[row, RULES.column("packets")] += (stops - starts).astype(np.uint64)
        self.rules[row, RULES.column("octets")] += np.add.reduceat(length[order], starts).astype(np.uint64)
        self.rules[row, RULES.column("last_time")] = time
        self.rules[row, RULES.column("last_source")] = source[order[stops - 1]]

    def _relayed(self, row: int, packets: int, octets: int, source: int, time: int) -> None:
        counts = self.rules[row]
        counts[RULES.column("packets")] += np.uint64(packets)
        counts[RULES.column("octets")] += np.uint64(octets)
        counts[RULES.column("last_time")] = time
        counts[RULES.column("last_source")] = source

    def add_sent(self, sent: Sent, rows: Column) -> None:
        """Count what became of the datagrams; `rows` are those of all outputs."""
        row = rows[sent.output]
        packets, octets = OUTPUTS.column("packets"), OUTPUTS.column("octets")
        self.outputs[row, packets] += sent.packets.astype(np.uint64)
        self.outputs[row, octets] += sent.octets.astype(np.uint64)
        for output, count in sent.expired:
            self.outputs[rows[output], OUTPUTS.column("ttl")] += np.uint64(count)
        for output, code, datagrams in sent.failures:
            column = self._error_column.get(code, OUTPUTS.column(OTHER_ERRNO))
            self.outputs[rows[output], column] += np.uint64(datagrams)

    def bookmark(self, row: int) -> memoryview:
        """Return the one number in which a link's ring keeps its next frame, for a worker's successor."""
        place = LINKS.place(row, "head")
        return self.numbers[place : place + 1]
