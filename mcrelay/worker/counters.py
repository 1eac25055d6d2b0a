"""Counts what became of each packet, in the memory that outlives the worker."""

from __future__ import annotations

import errno
import mmap

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.counters import LINKS, MEMORY_SIZE, OUTPUTS, RULES, Table
from mcrelay.model.drops import OTHER_ERRNO, SEND_ERRNOS
from mcrelay.worker.egress import Sent
from mcrelay.worker.segments import Runs, sizes, starts

Column = NDArray[np.int64]


class CounterWriter:
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

    def add_relayed(self, found: Runs, row_of_route: Column, source: NDArray[np.uint32], time: int) -> None:
        """Count packets that their rules relay; `source` is that of each packet, shape (n,).

        `time` is that of the last one, nanoseconds of CLOCK_REALTIME.
        """
        first = starts(found.route)
        row = row_of_route[found.route[first]]
        last = first + sizes(first, len(found.route)) - 1
        self._add(self.rules, row, RULES.column("packets"), np.add.reduceat(found.count, first))
        self._add(self.rules, row, RULES.column("octets"), np.add.reduceat(found.octets, first))
        self.rules[row, RULES.column("last_time")] = time
        self.rules[row, RULES.column("last_source")] = source[found.first[last] + found.count[last] - 1]

    def add_sent(self, sent: Sent, row_of_output: Column, length: Column) -> None:
        """Count what became of the datagrams, of payloads with these lengths."""
        output, packets, octets = sent.by_output(length)
        row = row_of_output[output]
        self._add(self.outputs, row, OUTPUTS.column("packets"), packets)
        self._add(self.outputs, row, OUTPUTS.column("octets"), octets)
        if sent.expired is not None:
            row = row_of_output[sent.expired.output]
            self._add(self.outputs, row, OUTPUTS.column("ttl"), sent.expired.count)
        for unsent in sent.unsent:
            column = self._error_column.get(unsent.code, OUTPUTS.column(OTHER_ERRNO))
            self.outputs[row_of_output[unsent.output], column] += np.uint64(unsent.count)

    def _add(self, table: NDArray[np.uint64], row: Column, column: int, counts: Column) -> None:
        np.add.at(table[:, column], row, counts.astype(np.uint64))

    def bookmark(self, row: int) -> memoryview:
        """Return the one number in which a link's ring keeps its next frame, for a worker's successor."""
        place = LINKS.place(row, "head")
        return self.numbers[place : place + 1]
