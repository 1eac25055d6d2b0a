"""A batch of packets and the result of sending it, as the array path passes them to a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.headers import Headers
from mcrelay.tracing.events import EXPIRED
from mcrelay.worker.egress import SendResult

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RelayedPackets:
    """The packets of a batch that have a route, in the order of their payloads, and the result of sending."""

    packets: Column | slice
    sent: SendResult

    def payload_index(self, packet: int) -> int:
        """Return the index of a packet's payload in the payloads of the batch."""
        return packet if isinstance(self.packets, slice) else int(np.flatnonzero(self.packets == packet)[0])

    def failures(self) -> Column:
        """Return the spans of payloads that were not sent; shape (n, 4).

        The columns are the output, the first payload, the payload after the last one, and the code as in
        `SendOutcome.code`.
        """
        failed = [
            (failure.output, failure.first, failure.first + failure.count, failure.code)
            for failure in self.sent.failures
        ]
        failures = np.array(failed, np.int64).reshape(-1, 4)
        if expired := self.sent.expired:
            code = np.full(len(expired.output), EXPIRED)
            columns = (expired.output, expired.first, expired.first + expired.count, code)
            failures = np.concatenate((failures, np.stack(columns, axis=1)))
        return failures


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """n packets of one link, and the result of sending the packets that have a route."""

    frames: NDArray[np.uint32]
    """Ring frames; shape (n, words of a frame)."""
    packets: Headers
    route: Column
    """Route of each packet, NO_ROUTE if the packet was not relayed; shape (n,)."""
    relayed: RelayedPackets | None
    """None if no packet has a route."""
