"""Takes what arrives at some sockets, many datagrams at a time, and counts it."""

from __future__ import annotations

import selectors
import socket
import time

import numpy as np

from mcrelay.linux.recvmmsg import Arrivals
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.probe import check_payloads
from mcrelay.traffic.sockets import buffer_size
from mcrelay.traffic.statistics import ArrivalBatch, Reception

BATCH_DATAGRAMS = 512  # datagrams taken at once
GATHER_S = 0.002  # seconds in which datagrams gather in the sockets: the kernel stamps their arrival, not we
MIN_GATHER_BUFFER = 8 << 20  # octets that a socket must hold for that, as the kernel counts them


class ProbeReceiver:
    """Sockets, and what was counted at them so far. Times are those of `time.monotonic`."""

    def __init__(self, sockets: dict[Endpoint, socket.socket]) -> None:
        self.reception = Reception()
        self.packets = 0
        self.began = self.last_arrival = time.monotonic()
        self._arrivals = Arrivals(BATCH_DATAGRAMS)
        self._selector = selectors.DefaultSelector()
        for destination, sock in sockets.items():
            self._selector.register(sock, selectors.EVENT_READ, str(destination))
        self._pause = GATHER_S if min(map(buffer_size, sockets.values())) >= MIN_GATHER_BUFFER else 0.0

    def take(self, wait: float) -> bool:
        """Take one batch from each socket that has any; return whether more may be there."""
        fullest = 0
        for key, _ in self._selector.select(wait):
            count = self._arrivals.receive(key.fd)
            fullest = max(fullest, count)
            if count:
                self.reception.take(key.data, self._batch(count))
                self.packets += count
                self.last_arrival = time.monotonic()
        return fullest == BATCH_DATAGRAMS

    def _batch(self, count: int) -> ArrivalBatch:
        arrivals = self._arrivals
        length = arrivals.length[:count].astype(np.int64)
        return ArrivalBatch(
            length=length,
            source=arrivals.source[:count].astype(np.int64),
            source_port=arrivals.source_port[:count].astype(np.int64),
            ttl=arrivals.ttl[:count].astype(np.int64),
            tos=arrivals.tos[:count].astype(np.int64),
            time=arrivals.times(count),
            verdicts=check_payloads(arrivals.octets[:count], length),
        )

    def rest(self) -> None:
        """Let datagrams gather where the sockets have the room: many cost little more than one."""
        time.sleep(self._pause)
