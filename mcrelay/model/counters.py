"""Where each count lies in the shared memory of a worker.

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
    """Rows of columns; `offset` is where the first row lies in the memory, in octets."""

    columns: tuple[str, ...]
    rows: int
    offset: int

    @property
    def size(self) -> int:
        """Octets of the table."""
        return 8 * len(self.columns) * self.rows

    def column(self, name: str) -> int:
        """Return the place of a column in a row."""
        return self.columns.index(name)

    def place(self, row: int, name: str) -> int:
        """Return where a count lies, in numbers of 64 bits from the start of the memory."""
        return self.offset // 8 + row * len(self.columns) + self.column(name)

    def counts(self, numbers: memoryview, row: int) -> list[int]:
        """Return the counts of a row, in the order of the columns; `numbers` is a memory cast to "Q"."""
        width = len(self.columns)
        first = self.offset // 8 + row * width
        return numbers[first : first + width].tolist()

    def total(self, counts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Return the counts of a row over all workers: sums, and the last packet is the youngest of any."""
        if len(counts) == 1:
            return counts[0]
        sums = [sum(of_workers) for of_workers in zip([0] * len(self.columns), *counts, strict=True)]
        if counts and self.columns[-1] == "last_source":
            last = self.column("last_time")
            sums[last:] = max(list(of_worker[last:]) for of_worker in counts)
        return sums


# A link: all its frames, and those that no rule can answer for. `head` is the ring's next frame, kept here so
# that the worker's successor goes on where it stopped.
LINKS = Table(
    columns=("packets", "octets", "no_rule", "fragment", "malformed", "oversize", "overrun", "head"),
    rows=4096,
    offset=0,
)
# A rule: the packets and payload octets it relayed, why others were not relayed, and the last one relayed
# (CLOCK_REALTIME, nanoseconds; IPv4 address as a number).
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
# An output: what it sent, packets and payload octets, and what it did not.
OUTPUTS = Table(
    columns=("packets", "octets", "ttl", *SEND_ERROR_NAMES),
    rows=262_144,
    offset=RULES.offset + RULES.size,
)
MEMORY_SIZE = OUTPUTS.offset + OUTPUTS.size  # untouched pages take no memory
