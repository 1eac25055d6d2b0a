"""The layout of the counters in the shared memory of a worker.

A worker writes into its own memory, all other processes read it; a count is one aligned unsigned 64-bit
number. The memory is one table for links, one for rules and one for outputs. A row belongs to a name for as
long as the name is in use, whichever worker runs, so that counts outlive reloads and workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcrelay.model.drops import SEND_ERROR_NAMES


@dataclass(frozen=True, slots=True)
class Table:
    """A table of counts, row by row; `offset` is where its first row begins in the memory, in bytes."""

    columns: tuple[str, ...]
    rows: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the table."""
        return 8 * len(self.columns) * self.rows

    def column(self, name: str) -> int:
        """Return the index of a column in a row."""
        return self.columns.index(name)

    def index(self, row: int, name: str) -> int:
        """Return the index of a count in the memory, taken as an array of 64-bit numbers."""
        return self.offset // 8 + row * len(self.columns) + self.column(name)

    def counts(self, numbers: memoryview, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns; `numbers` is a memory cast to "Q"."""
        width = len(self.columns)
        first = self.offset // 8 + row * width
        return numbers[first : first + width].tolist()

    def total(self, counts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Return the counts of a row over all workers: sums, and of the last packets the latest."""
        if len(counts) == 1:
            return counts[0]
        sums = [sum(of_workers) for of_workers in zip([0] * len(self.columns), *counts, strict=True)]
        if counts and self.columns[-1] == "last_source":
            last = self.column("last_time")
            sums[last:] = max(list(of_worker[last:]) for of_worker in counts)
        return sums


# A link: all its frames, and the drops that belong to no rule. `head` is the index of the next frame of the
# ring, which is kept here so that the successor of a worker continues where the worker stopped.
LINKS = Table(
    columns=("packets", "octets", "no_rule", "fragment", "malformed", "oversize", "overrun", "head"),
    rows=4096,
    offset=0,
)
# A rule: the packets and payload bytes that it relayed, its drops, and the last packet that it relayed
# (CLOCK_REALTIME in nanoseconds, and the number of the source address).
RULES = Table(
    columns=(
        "packets",
        "octets",
        "fragment",
        "malformed",
        "oversize",
        "source",
        "own",
        "last_time",
        "last_source",
    ),
    rows=65_536,
    offset=LINKS.offset + LINKS.size,
)
# An output: the packets and payload bytes that it sent, and its drops.
OUTPUTS = Table(
    columns=("packets", "octets", "ttl", *SEND_ERROR_NAMES),
    rows=262_144,
    offset=RULES.offset + RULES.size,
)
MEMORY_SIZE = OUTPUTS.offset + OUTPUTS.size  # bytes; pages that nobody writes take no memory
