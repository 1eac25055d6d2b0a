"""Counts what comes back to the ports of the egress sockets: answers, and ICMP errors about sent packets.

An ICMP error moves one packet of its output from those that were sent to the send errors. An answer is
counted, and discarded: the relay does not forward it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcrelay.linux.return_socket import ReturnedError, read_errors, read_senders
from mcrelay.model.addresses import is_group
from mcrelay.model.counters import OUTPUTS
from mcrelay.model.send_errors import IcmpError, PathFault
from mcrelay.model.state import Egress
from mcrelay.packet.fib import RouteEntry
from mcrelay.packet.icmp import classify_icmp_error
from mcrelay.worker.counters import CounterWriter

MAX_READS = 256  # answers, and ICMP errors, that are read from a socket at once
PAUSE_S = 0.25  # before a socket is read again, so that a flood leaves time for packets

_OCTETS, _ANSWERS = OUTPUTS.column("octets"), OUTPUTS.column("answers")


@dataclass(frozen=True, slots=True)
class SendingOutput:
    """An output as the destination of an error or an answer: where it sends to, and from which address."""

    destination: str
    port: int
    source: str
    counts: int
    """Index of its first counter in `CounterWriter.counts`."""


class ReturnCounter:
    """Counts what comes back, for the outputs of these routes.

    `ports` has the port of each egress socket. The outputs are collected when something comes back.
    """

    def __init__(
        self, entries: Collection[RouteEntry], ports: Mapping[Egress, int], counters: CounterWriter
    ) -> None:
        self._entries, self._ports, self._counters = entries, ports, counters
        self._outputs: dict[int, list[SendingOutput]] | None = None

    def count(self, sock: socket.socket, time: int) -> None:
        """Read and count what came back to the port of a socket; `time` is CLOCK_REALTIME in nanoseconds."""
        outputs = self._outputs_by_port().get(sock.getsockname()[1], ())
        for error in read_errors(sock, MAX_READS):
            self.count_error(outputs, error, time)
        for sender in read_senders(sock, MAX_READS):
            if outputs:
                self._counters.counts[_find_asker(outputs, *sender).counts + _ANSWERS] += 1

    def _outputs_by_port(self) -> Mapping[int, Sequence[SendingOutput]]:
        if self._outputs is None:
            self._outputs = {}
            for entry in self._entries:
                for output, row in zip(entry.route.outputs, entry.rows[1:], strict=True):
                    self._outputs.setdefault(self._ports[output.egress], []).append(
                        SendingOutput(
                            output.destination,
                            output.port,
                            output.egress.source,
                            OUTPUTS.index(row, "packets"),
                        )
                    )
        return self._outputs

    def count_error(self, outputs: Sequence[SendingOutput], error: ReturnedError, time: int) -> None:
        """Count an ICMP error about a packet of one of the outputs that send from a port."""
        concerned = [
            output
            for output in outputs
            if (output.destination, output.port) == (error.destination, error.port)
        ]
        if not concerned or (name := _name_error(concerned, error)) is None:
            return
        counts = self._counters.counts
        output = max(concerned, key=lambda output: counts[output.counts]).counts
        if (packets := counts[output]) > 0:
            counts[output + _OCTETS] -= counts[output + _OCTETS] // packets
        counts[output] -= 1
        self._counters.add_send_errors(output, OUTPUTS.column(name), 1, time)


def _name_error(outputs: Sequence[SendingOutput], error: ReturnedError) -> str | None:
    """Return the name of an ICMP error, or None if sendmsg(2) has reported the error, too."""
    meaning = classify_icmp_error(error.kind, error.code)
    is_from_this_host = error.offender in [output.source for output in outputs]
    if not is_from_this_host or error.offender == error.destination:
        return meaning
    # The host itself says that nobody answered ARP. Its packet filter (`reject`) also failed the send.
    return PathFault.NO_NEIGHBOR if meaning is IcmpError.HOST_UNREACHABLE else None


def _find_asker(outputs: Sequence[SendingOutput], address: str, port: int) -> SendingOutput:
    """Return the output that most probably asked for an answer from this address and port.

    That is an output to this endpoint or host, else to a group with this port, else to any group.
    """
    return max(
        outputs,
        key=lambda output: (
            output.destination == address,
            output.port == port,
            is_group(output.destination),
        ),
    )


class ReturnPoller:
    """Polls the return sockets of a worker. A socket that was read is left alone for PAUSE_S."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._sockets: dict[int, socket.socket] = {}
        self._paused: set[int] = set()
        self._resume_at = 0.0
        self.is_paused = False
        """True if a socket is left alone at present."""

    def replace(self, sockets: Iterable[socket.socket]) -> None:
        """Poll these sockets instead of the previous ones."""
        for descriptor in self._sockets.keys() - self._paused:
            self._poll.unregister(descriptor)
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._paused.clear()
        self.is_paused = False
        for descriptor in self._sockets:
            self._poll.register(descriptor, select.POLLIN)

    def get(self, descriptor: int) -> socket.socket | None:
        """Return the socket with this descriptor, or None."""
        return self._sockets.get(descriptor)

    def pause(self, descriptor: int, now: float) -> None:
        """Leave a socket alone from `now` on, in monotonic seconds."""
        self._poll.unregister(descriptor)
        self._paused.add(descriptor)
        self.is_paused = True
        self._resume_at = now + PAUSE_S

    def resume(self, now: float, timeout: float | None) -> float | None:
        """Poll the paused sockets again if it is time; return how long to wait, in milliseconds.

        `timeout` is the longest time to wait.
        """
        if now < self._resume_at:
            remaining = 1000 * (self._resume_at - now)
            return remaining if timeout is None else min(timeout, remaining)
        for descriptor in self._paused:
            self._poll.register(descriptor, select.POLLIN)
        self._paused.clear()
        self.is_paused = False
        return timeout
