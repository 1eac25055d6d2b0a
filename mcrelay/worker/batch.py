"""A batch of packets and the result of sending it, as the array path passes them to a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcrelay.packet.headers import Headers
from mcrelay.tracing.events import EXPIRED
from mcrelay.worker.egress import OutputMessages, SendResult

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RelayedPackets:
    """The packets of a batch that have a route, in the order of their payloads, and the result of sending."""

    packets: Column | slice
    sent: SendResult
    fault: Column
    """Fault of each output, as in `RouteTable.fault`."""

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
            failures = _append_spans(failures, expired, np.full(len(expired.output), EXPIRED))
        if withheld := self.sent.withheld:
            failures = _append_spans(failures, withheld, self.fault[withheld.output])
        return failures


def _append_spans(failures: Column, messages: OutputMessages, code: Column) -> Column:
    """Return the spans of `failures` and those of messages that were not sent; `code` has their codes."""
    columns = (messages.output, messages.first, messages.first + messages.count, code)
    return np.concatenate((failures, np.stack(columns, axis=1)))


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
    is_stale: NDArray[np.bool_] | None = None
    """A mask of the packets that are too old, whatever their route was; None if there are none."""
