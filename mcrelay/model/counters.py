"""What became of every packet: the names of the drop reasons, and where each count lies in shared memory.

A worker writes into its own memory, everyone else reads; a count is one aligned unsigned 64-bit number. The
memory is one table for links, one for rules and one for outputs. A row belongs to a name for as long as the
name is in use, whichever worker runs, so that counts outlive reloads and workers.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Iterable, Sequence
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


# Written once, for `status`, `trace` and the manual: what it is, and after the colon what to do about it.
_MEANINGS = {
    Drop.NO_RULE: "no rule's input has this device, address and port, or the frame has a VLAN tag: "
    "harmless unless a rule should have taken it",
    Drop.FRAGMENT: "a part of a datagram that came in several, which are not put together: "
    "let the sender send at most what its MTU holds",
    Drop.MALFORMED: "a wrong IP checksum, or lengths that contradict each other: "
    "look at the sender, and at the cable and the cards between",
    Drop.OVERSIZE: "a frame of several datagrams (GRO, GSO) or beyond the MTU: "
    "`ethtool -K DEVICE gro off tx-udp-segmentation off`, on a veth at both ends",
    Drop.SOURCE: "sent by a host that is not among the rule's `sources`: "
    "add its address, or leave `sources` out to take every sender",
    Drop.OWN: "sent by the relay itself, and come back to a rule's input: "
    "find the way by which an output's network leads there",
    Drop.TTL: "`ttl: decrement` left nothing of its time to live: "
    "raise the TTL at the sender, or give the output a fixed `ttl`",
    Drop.OVERRUN: "came faster than the workers could relay, and the packet ring was full: "
    "raise `workers`, or leave them more CPU time",
    Drop.SEND_ERROR: "refused by the kernel when it was to be sent: the name of the error says why",
}

# The errors of sendmsg(2) that a relay meets, each with a column of its own; the rest share "other".
_SEND_ERRORS = {
    errno.EPERM: "a packet filter of this host refused it: see `nft list ruleset`",
    errno.EAGAIN: "the socket's buffer was full: the output's device is slower than the input",
    errno.EINVAL: "source, destination and device do not go together: try `ip route get ADDRESS oif DEVICE`",
    errno.EMSGSIZE: "too long for one datagram through this device: raise its MTU, or send less at once",
    errno.ENETDOWN: "the output's device is down: `ip link set DEVICE up`",
    errno.ENETUNREACH: "no route leads there through the device: add one, or give the device an address",
    errno.ENOBUFS: "the device's queue was full: it is slower than the input (`tc -s qdisc show dev DEVICE`)",
    errno.EHOSTUNREACH: "a route forbids it, or no host answers: see `ip neigh` and `ip route get ADDRESS`",
    errno.ENODEV: "the output's device has gone: the output comes back with it",
    errno.EACCES: "a route prohibits it, or it is a broadcast address: see `ip route get ADDRESS`",
    errno.ECONNREFUSED: "the host has nobody at this port: start the receiver, or correct `port`",
    errno.ENOMEM: "the kernel had no memory for it: see `free` and the kernel's log",
}
SEND_ERRNOS = tuple(_SEND_ERRORS)
OTHER_ERRNO = "other"
SEND_ERROR_MEANINGS = {
    **{errno.errorcode[code]: meaning for code, meaning in _SEND_ERRORS.items()},
    OTHER_ERRNO: "another error of sendmsg(2): `mcrelay trace` names it",
}
SEND_ERROR_NAMES = tuple(SEND_ERROR_MEANINGS)


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


class RowsExhausted(Exception):
    """All rows of a table are in use."""


class Rows:
    """Which row of a table belongs to which name."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: dict[Hashable, int] = {}
        self._free: list[int] = []
        self._fresh = 0
        self.taken = 0
        """How often a name got a row."""

    def row(self, name: Hashable) -> int:
        """Return the row of `name`, a new one where it has none yet."""
        if name not in self._rows:
            self._rows[name] = self._take()
            self.taken += 1
        return self._rows[name]

    def get(self, name: Hashable) -> int | None:
        """Return the row of `name`, None where it has none."""
        return self._rows.get(name)

    def all(self) -> dict[Hashable, int]:
        """Return the row of every name that has one."""
        return dict(self._rows)

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
