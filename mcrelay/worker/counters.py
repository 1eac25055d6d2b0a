"""The counters of a worker, written into shared memory that outlives the worker."""

from __future__ import annotations

import mmap
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.counters import COUNTERS_SIZE, LINKS, OUTPUTS, RULES, Table
from mcrelay.model.drops import Drop
from mcrelay.model.near_misses import NearMiss
from mcrelay.model.send_errors import OTHER_ERRNO, SEND_ERROR_CODES, SEND_ERROR_NAMES
from mcrelay.packet.fib import NO_ROUTE, RouteTable
from mcrelay.worker.egress import SendResult
from mcrelay.worker.segments import Runs, run_sizes, run_starts

Column = NDArray[np.int64]

ERROR_COLUMNS = {code: OUTPUTS.column(name) for code, name in SEND_ERROR_CODES.items()}
"""The column of each errno and fault in the counters of an output."""
OTHER_ERROR_COLUMN = OUTPUTS.column(OTHER_ERRNO)
"""The column of the errnos that ERROR_COLUMNS lacks."""
_FIRST_ERROR_COLUMN = OUTPUTS.column(SEND_ERROR_NAMES[0])
_LAST_ERROR_TIME, _LAST_ERROR = OUTPUTS.column("last_error_time"), OUTPUTS.column("last_error")


class CounterWriter:
    """The tables of model/counters.py as arrays of uint64, shape (rows, columns)."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, COUNTERS_SIZE)
        self.counts = memoryview(self._memory).cast("q")
        """All counters as numbers of 64 bits, indexed by `Table.index`.

        They have a sign, because the packets that this worker sent, less the ICMP errors about packets of all
        workers, may be negative.
        """
        self.links = self._table(LINKS)
        self.rules = self._table(RULES)
        self.outputs = self._table(OUTPUTS)

    def _table(self, table: Table) -> NDArray[np.uint64]:
        count = table.rows * len(table.columns)
        return np.frombuffer(self._memory, np.uint64, count, table.offset).reshape(table.rows, -1)

    def add_link(self, row: int, counts: Mapping[str, int]) -> None:
        """Add counts to counters of a link; `counts` is by column."""
        for name, count in counts.items():
            self.links[row, LINKS.column(name)] += np.uint64(count)

    def add_rule_drops(self, rows: Column, reason: str) -> None:
        """Count one dropped packet in the column `reason` of each rule; `rows` has a row for each packet."""
        np.add.at(self.rules[:, RULES.column(reason)], rows, np.uint64(1))

    def add_near_misses(self, row: int, miss: NearMiss, count: int, detail: int, time: int) -> None:
        """Count packets that were probably meant for a rule; detail and time are those of the last one."""
        time_column, detail_column, packets = (RULES.column(name) for name in miss.columns)
        self.rules[row, time_column], self.rules[row, detail_column] = time, detail
        self.rules[row, packets] += np.uint64(count)

    def add_relayed(self, runs: Runs, row_of_route: Column, source: NDArray[np.uint32], time: int) -> None:
        """Count relayed packets for their rules; `source` is the source address of each packet, shape (n,).

        `time` is the arrival of the last packet, nanoseconds of CLOCK_REALTIME.
        """
        first = run_starts(runs.route)
        row = row_of_route[runs.route[first]]
        last = first + run_sizes(first, len(runs.route)) - 1
        self._add(self.rules, row, RULES.column("packets"), np.add.reduceat(runs.count, first))
        self._add(self.rules, row, RULES.column("octets"), np.add.reduceat(runs.octets, first))
        self.rules[row, RULES.column("last_time")] = time
        self.rules[row, RULES.column("last_source")] = source[runs.first[last] + runs.count[last] - 1]

    def add_sent(self, sent: SendResult, routes: RouteTable, length: Column, time: int) -> None:
        """Count the datagrams of a batch for their outputs; `length` has the octets of each payload.

        A datagram to the input of another rule, which the relay does not take, is counted for that rule, too.
        `time` is as in `add_relayed`.
        """
        output, packets, octets = sent.count_by_output(length)
        row = routes.row[output]
        self._add(self.outputs, row, OUTPUTS.column("packets"), packets)
        self._add(self.outputs, row, OUTPUTS.column("octets"), octets)
        if routes.has_takers:
            taker = routes.taker_row[output]
            is_taken = taker != NO_ROUTE
            self._add(self.rules, taker[is_taken], RULES.column(Drop.OWN), packets[is_taken])
        if sent.expired is not None:
            row = routes.row[sent.expired.output]
            self._add(self.outputs, row, OUTPUTS.column("ttl"), sent.expired.count)
        for failure in sent.failures:
            self._add_send_errors(int(routes.row[failure.output]), failure.code, failure.count, time)
        if withheld := sent.withheld:
            for output, count in zip(withheld.output.tolist(), withheld.count.tolist(), strict=True):
                self._add_send_errors(int(routes.row[output]), int(routes.fault[output]), count, time)

    def _add_send_errors(self, row: int, code: int, count: int, time: int) -> None:
        column = ERROR_COLUMNS.get(code, OTHER_ERROR_COLUMN)
        self.add_send_errors(OUTPUTS.index(row, "packets"), column, count, time)

    def add_send_errors(self, output: int, column: int, count: int, time: int) -> None:
        """Count send errors in a column of an output, whose first counter has the index `output` in `counts`.

        `time` is the time of the last error, nanoseconds of CLOCK_REALTIME.
        """
        counts = self.counts
        counts[output + column] += count
        counts[output + _LAST_ERROR_TIME] = time
        counts[output + _LAST_ERROR] = column - _FIRST_ERROR_COLUMN

    def _add(self, table: NDArray[np.uint64], row: Column, column: int, counts: Column) -> None:
        np.add.at(table[:, column], row, counts.astype(np.uint64))

    def saved_head(self, row: int) -> memoryview:
        """Return the 64-bit number in which the ring of a link saves its head; shape (1,)."""
        index = LINKS.index(row, "head")
        return self.counts[index : index + 1]
