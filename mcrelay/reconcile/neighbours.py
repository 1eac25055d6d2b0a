"""The next hops of the outputs, and which of them do not answer ARP.

The kernel asks a neighbour only while its own stack has packets for it. An output to a silent neighbour sends
none, so the supervisor lets the kernel ask about once a second. The kernel data plane does without the stack,
so the supervisor also lets the kernel ask neighbours whose entries are stale or gone, as packets of the stack
would. Times are in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from itertools import islice
from math import inf

from mcrelay.model.routes import Neighbour, NeighbourState, NextHop

ANSWER_TIMEOUT_S = 1.0  # from the first question to a neighbour until it counts as silent
PROBE_INTERVAL_S = 1.0
MAX_PROBES = 100  # in each interval; the kernel's table of neighbours has 1024 entries by default


class Neighbours:
    """Follows the next hops that are set, and ignores all other neighbours."""

    def __init__(self) -> None:
        self._silent: set[NextHop] = set()
        self._addresses: dict[NextHop, str] = {}
        self.next_hops: frozenset[NextHop] = frozenset()
        self._answer_due: dict[NextHop, float] = {}
        """The deadlines of the first answers of neighbours. Before the question, the deadline is infinite."""
        self._to_probe: dict[NextHop, None] = {}
        self._next_probe = 0.0
        self.keeps_alive = False
        """Whether neighbours must be confirmed and known also without packets of the host's own stack."""

    @property
    def silent(self) -> frozenset[NextHop]:
        """The next hops that did not answer, and have not answered since."""
        return frozenset(self._silent)

    @property
    def unsettled(self) -> frozenset[NextHop]:
        """The next hops whose changes matter: those that are silent, or have yet to answer."""
        return frozenset(self._silent | self._answer_due.keys())

    def set_next_hops(self, hops: Set[NextHop]) -> None:
        """Follow these next hops from now on. New ones are unsettled until their state is recorded."""
        added = hops - self.next_hops
        self.next_hops = frozenset(hops)
        self._silent &= self.next_hops
        if not self._addresses.keys() <= hops:
            self._addresses = {hop: address for hop, address in self._addresses.items() if hop in hops}
        self._answer_due = {hop: due for hop, due in self._answer_due.items() if hop in hops}
        self._answer_due |= dict.fromkeys(added, inf)
        self._to_probe = {hop: None for hop in self._to_probe if hop in hops}

    @property
    def addresses(self) -> Mapping[NextHop, str]:
        """The Ethernet addresses of the next hops, as far as they are known; a change gives a new mapping."""
        return self._addresses

    def record(self, hop: NextHop, neighbour: Neighbour, now: float) -> None:
        """Record the state of a neighbour. A silent one stays silent while the kernel asks it again."""
        if hop not in self.next_hops:
            return
        self._record_address(hop, neighbour.ethernet_address)
        match neighbour.state:
            case NeighbourState.KNOWN:
                self._silent.discard(hop)
                self._settle([hop])
            case NeighbourState.STALE:
                self._silent.discard(hop)
                self._settle([hop])
                if self.keeps_alive:
                    self._to_probe[hop] = None
            case NeighbourState.RESOLVING:
                self._to_probe.pop(hop, None)
                self._expect_answer(hop, now)
            case NeighbourState.FAILED:
                self._settle([hop])
                self._silent.add(hop)
                self._to_probe[hop] = None
            case NeighbourState.ABSENT:  # pragma: no branch: there is no other
                if self.keeps_alive and hop not in self._silent:
                    self._answer_due.setdefault(hop, inf)
                if hop in self._silent or hop in self._answer_due:
                    self._to_probe[hop] = None

    def record_refusals(self, hops: Iterable[NextHop]) -> None:
        """Record that the kernel cannot ask these neighbours now, so that nothing is known about them."""
        self._settle(hops)

    def due_probes(self, now: float) -> list[NextHop]:
        """Return the neighbours that the kernel should ask now.

        A neighbour that did not answer in time is silent from now on.
        """
        late = {hop for hop, due in self._answer_due.items() if due <= now}
        for hop in late:
            del self._answer_due[hop]
        self._silent |= late
        if not self._to_probe or now < self._next_probe:
            return []
        self._next_probe = now + PROBE_INTERVAL_S
        due = list(islice(self._to_probe, MAX_PROBES))
        for hop in due:
            del self._to_probe[hop]
            self._expect_answer(hop, now)
        return due

    def next_deadline(self) -> float | None:
        """Return the time by which `due_probes` must be called, or None if never."""
        deadline = min(self._answer_due.values(), default=inf)
        if self._to_probe:
            deadline = min(deadline, self._next_probe)
        return None if deadline == inf else deadline

    def _record_address(self, hop: NextHop, address: str | None) -> None:
        if self._addresses.get(hop) != address:
            others = {other: known for other, known in self._addresses.items() if other != hop}
            self._addresses = others | ({hop: address} if address else {})

    def _expect_answer(self, hop: NextHop, now: float) -> None:
        if self._answer_due.get(hop) == inf:
            self._answer_due[hop] = now + ANSWER_TIMEOUT_S

    def _settle(self, hops: Iterable[NextHop]) -> None:
        for hop in hops:
            self._answer_due.pop(hop, None)
            self._to_probe.pop(hop, None)
