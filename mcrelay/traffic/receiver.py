"""The receiver of probes, which reads many datagrams at a time from several sockets, and counts them."""

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

BATCH_DATAGRAMS = 512
GATHER_S = 0.002  # length of a pause for datagrams to gather; the kernel records their times of arrival
MIN_GATHER_BUFFER = 8 << 20  # octets of socket buffer, as the kernel counts them, for such a pause


class ProbeReceiver:
    """Counts the probes that arrive at some sockets. Times are those of `time.monotonic`."""

    def __init__(self, sockets: dict[Endpoint, socket.socket]) -> None:
        self.reception = Reception()
        self.packets = 0
        self.began = self.last_arrival = time.monotonic()
        self._arrivals = Arrivals(BATCH_DATAGRAMS)
        self._selector = selectors.DefaultSelector()
        for destination, sock in sockets.items():
            self._selector.register(sock, selectors.EVENT_READ, str(destination))
        self._pause = GATHER_S if min(map(buffer_size, sockets.values())) >= MIN_GATHER_BUFFER else 0.0

    def receive(self, wait: float) -> bool:
        """Receive a batch from each socket, and return whether further datagrams may be queued.

        Wait up to `wait` seconds for the first datagram.
        """
        fullest = 0
        for key, _ in self._selector.select(wait):
            count = self._arrivals.receive(key.fd)
            fullest = max(fullest, count)
            if count:
                self.reception.count(key.data, self._batch(count))
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
            checks=check_payloads(arrivals.octets[:count], length),
        )

    def pause(self) -> None:
        """Wait for datagrams to gather, if the sockets can hold them. Large batches take less CPU time."""
        time.sleep(self._pause)
