"""What became of every packet: the names of the drop reasons, and where each count lies in shared memory.

A worker writes into its own memory, everyone else reads; a count is one aligned unsigned 64-bit number. The
memory is one table for links, one for rules and one for outputs. A row belongs to a name for as long as the
name is in use, whichever worker runs, so that counts outlive reloads and workers.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Drop(StrEnum):
    """Why a packet was not relayed."""

    NO_RULE = "no_rule"
    FRAGMENT = "fragment"
    MALFORMED = "malformed"
    OVERSIZE = "oversize"
    SOURCE = "source"
    OWN = "own"
    TTL = "ttl"
    OVERRUN = "overrun"
    SEND_ERROR = "send_error"

    @property
    def meaning(self) -> str:
        """What it means and what to do, in one line."""
        return _MEANINGS[self]


_MEANINGS = {
    Drop.NO_RULE: "no rule takes this destination and port on this device, or the frame carries a VLAN tag",
    Drop.FRAGMENT: "the datagram came in IP fragments; let the sender send at most the MTU",
    Drop.MALFORMED: "a bad IP or UDP header, or lengths that contradict each other",
    Drop.OVERSIZE: "larger than the device's MTU: switch GRO/GSO off at the device it comes from",
    Drop.SOURCE: "the sender is not among the rule's `sources`",
    Drop.OWN: "the relay itself sent it: the output's network leads back to the input",
    Drop.TTL: "`ttl: decrement` left nothing: raise the sender's TTL, or set a fixed `ttl`",
    Drop.OVERRUN: "packets came faster than they could be relayed, and the ring was full",
    Drop.SEND_ERROR: "the kernel did not take the packet; the errno says why",
}

# The errors of sendmsg(2) that a relay meets, each with a column of its own; the rest share "other".
SEND_ERRNOS = (
    errno.EPERM, errno.EAGAIN, errno.EINVAL, errno.EMSGSIZE, errno.ENETDOWN, errno.ENETUNREACH,
    errno.ENOBUFS, errno.EHOSTUNREACH, errno.ENODEV, errno.EACCES, errno.ECONNREFUSED, errno.ENOMEM,
)  # fmt: skip
OTHER_ERRNO = "other"
SEND_ERROR_NAMES = (*(errno.errorcode[code] for code in SEND_ERRNOS), OTHER_ERRNO)


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


class RowsExhausted(Exception):
    """All rows of a table are in use."""


class Rows:
    """Which row of a table belongs to which name."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: dict[Hashable, int] = {}
        self._free: list[int] = []
        self._fresh = 0

    def row(self, name: Hashable) -> int:
        """Return the row of `name`, a new one where it has none yet."""
        if name not in self._rows:
            self._rows[name] = self._take()
        return self._rows[name]

    def get(self, name: Hashable) -> int | None:
        """Return the row of `name`, None where it has none."""
        return self._rows.get(name)

    def keep(self, names: Iterable[Hashable]) -> list[int]:
        """Give up the rows of all names but these, and return them: they are to be cleared."""
        kept = set(names)
        gone = [name for name in self._rows if name not in kept]
        freed = [self._rows.pop(name) for name in gone]
        self._free += freed
        return freed

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        if self._fresh == self._table.rows:
            raise RowsExhausted(f"no room for more than {self._table.rows} counters of a kind")
        self._fresh += 1
        return self._fresh - 1
