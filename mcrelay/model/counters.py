"""The layout of the counters in the shared memory of a worker.

A worker writes to its own memory, and all other processes read it. A count is one aligned 64-bit
number. The memory has one table for links, one for rules and one for outputs. A row belongs to a link, rule
or output for as long as the configuration has it, so that counts outlive reloads and workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcrelay.model.drops import Drop, Scope, drops_of
from mcrelay.model.near_misses import NEAR_MISS_COLUMNS, NearMiss
from mcrelay.model.send_errors import SEND_ERROR_NAMES, IcmpError, PathFault

TRAFFIC = ("packets", "octets")  # the first columns of every table
MASK = (1 << 64) - 1  # of a count


@dataclass(frozen=True, slots=True)
class Table:
    """A table of counts, row by row; `offset` is the offset of its first row in the memory, in bytes.

    The columns are TRAFFIC, then `drops`, then other columns.
    """

    columns: tuple[str, ...]
    rows: int
    offset: int
    drops: tuple[str, ...] = ()
    """The columns of dropped packets."""
    latest: tuple[tuple[int, int], ...] = ()
    """Pairs of columns, by index: a time, and a value of that time, which are not added up over workers."""

    returned: tuple[int, ...] = ()
    """The columns, by index, of errors about packets that were counted as sent before."""

    @property
    def size(self) -> int:
        """The size of the table in bytes."""
        return 8 * len(self.columns) * self.rows

    def column(self, name: str) -> int:
        """Return the index of a column in a row."""
        return self.columns.index(name)

    @property
    def drop_columns(self) -> slice:
        """The indexes of the columns of dropped packets in a row."""
        return slice(len(TRAFFIC), len(TRAFFIC) + len(self.drops))

    def index(self, row: int, name: str) -> int:
        """Return the index of a count in the memory, seen as an array of 64-bit numbers."""
        return self.offset // 8 + row * len(self.columns) + self.column(name)

    def counts(self, numbers: memoryview, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns; `numbers` is the memory cast to "Q"."""
        width = len(self.columns)
        first = self.offset // 8 + row * width
        return numbers[first : first + width].tolist()

    def total(self, counts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Return the sums of a row over all workers, and of each pair in `latest` the latest one.

        One worker counts the ICMP errors about the packets of all workers, so that its packets may be
        negative, which is a large number here.
        """
        if len(counts) == 1:
            total = counts[0]
        else:
            total = [sum(column) & MASK for column in zip([0] * len(self.columns), *counts, strict=True)]
            if counts:
                for time, value in self.latest:
                    total[time], total[value] = max((row[time], row[value]) for row in counts)
        return total if total[0] <= MASK >> 1 else self._without_forged(total)

    def _without_forged(self, total: Sequence[int]) -> Sequence[int]:
        """Return the sums of a row with more ICMP errors than packets, less the errors that are too many."""
        corrected = [0, 0, *total[2:]]
        forged = MASK + 1 - total[0]
        for column in self.returned:
            corrected[column] = max(0, total[column] - forged)
            forged -= total[column] - corrected[column]
        return corrected


# A link: all its frames, and the drops that belong to no rule. `head` is the index of the next frame of the
# ring; it is kept here so that a new worker continues at the frame at which the worker before it stopped.
_LINK_DROPS = drops_of(Scope.LINK)
LINKS = Table(
    columns=(*TRAFFIC, *_LINK_DROPS, "head"),
    rows=4096,
    offset=0,
    drops=_LINK_DROPS,
)
# A rule: the packets and payload bytes that it relayed, its drops, its near misses, and its last relayed
# packet (CLOCK_REALTIME in nanoseconds, and the number of the source address).
_RULE_DROPS = drops_of(Scope.RULE)
_RULE_COLUMNS = (*TRAFFIC, *_RULE_DROPS, *NEAR_MISS_COLUMNS, "last_time", "last_source")
_LATEST = (("last_time", "last_source"), *(miss.columns[:2] for miss in NearMiss))
RULES = Table(
    columns=_RULE_COLUMNS,
    rows=65_536,
    offset=LINKS.offset + LINKS.size,
    drops=_RULE_DROPS,
    latest=tuple((_RULE_COLUMNS.index(time), _RULE_COLUMNS.index(value)) for time, value in _LATEST),
)
# An output: the packets and payload bytes that it sent, its drops (send errors by their names), the answers
# that came back to its port, and its last send error: the time (CLOCK_REALTIME in nanoseconds), and the index
# in SEND_ERROR_NAMES.
_OUTPUT_DROPS = (*(drop for drop in drops_of(Scope.OUTPUT) if drop is not Drop.SEND_ERROR), *SEND_ERROR_NAMES)
_OUTPUT_COLUMNS = (*TRAFFIC, *_OUTPUT_DROPS, "answers", "last_error_time", "last_error")
OUTPUTS = Table(
    columns=_OUTPUT_COLUMNS,
    rows=262_144,
    offset=RULES.offset + RULES.size,
    drops=_OUTPUT_DROPS,
    latest=((_OUTPUT_COLUMNS.index("last_error_time"), _OUTPUT_COLUMNS.index("last_error")),),
    returned=tuple(_OUTPUT_COLUMNS.index(name) for name in (*IcmpError, PathFault.NO_NEIGHBOR)),
)
COUNTERS_SIZE = OUTPUTS.offset + OUTPUTS.size  # bytes; pages that no process writes take no memory
