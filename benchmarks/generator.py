"""The traffic generator: a process on the sender's host that sends plain datagrams as fast as it can.

`mcrelay send` numbers, stamps and fills every packet. Here all packets share one payload, which leaves more
CPU time to the relay under test. The system calls are the same.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from multiprocessing.connection import Connection
from types import TracebackType

import numpy as np

from benchmarks.case import Case
from mcrelay.lab import Host
from mcrelay.linux.constants import PR_SET_TIMERSLACK
from mcrelay.linux.sendmmsg import MAX_SEGMENTED_OCTETS, MAX_SEGMENTS, Messages, address_of, sockaddrs
from mcrelay.traffic.endpoint import bind_to_device
from mcrelay.traffic.pacer import ROUND_S, Pacer

TTL = 16  # kernel routing decrements it
UNLIMITED = 1e9  # packets a second: more than any machine sends
ROWS = 1024  # packets in one call, at most
SEND_BUFFER = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Order:
    """A request to the generator: the traffic, packets a second, and the duration in seconds.

    Packets that are due within `round_s` seconds are sent together.
    """

    case: Case
    rate: float
    seconds: float
    round_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """The packets that were sent, the time it took in seconds, and the number of rounds."""

    packets: int
    seconds: float
    rounds: int

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds

    @property
    def round(self) -> float:
        """The mean number of packets that were sent together."""
        return self.packets / max(1, self.rounds)


class Generator:
    """The generator process, as its parent controls it."""

    def __init__(self, host: Host, device: str, cpu: int | None) -> None:
        context = multiprocessing.get_context("fork")  # stays in this thread's namespace
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, device, cpu), daemon=True)
        with host.enter_namespace():
            self._process.start()
        theirs.close()

    @property
    def process(self) -> int:
        """The process ID."""
        return self._process.pid or 0

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()

    def start(self, case: Case, rate: float, seconds: float, round_s: float = ROUND_S) -> None:
        """Start to send for `seconds`. `result` waits for the end."""
        self._connection.send(Order(case, rate, seconds, round_s))

    def result(self) -> Sent:
        """Wait for the end, and return what was sent."""
        sent: Sent = self._connection.recv()
        return sent

    def send(self, case: Case, rate: float, seconds: float, round_s: float = ROUND_S) -> Sent:
        """Send, wait for the end, and return what was sent."""
        self.start(case, rate, seconds, round_s)
        return self.result()


def _serve(orders: Connection, device: str, cpu: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and ends this process
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # in nanoseconds: sleeps end on time
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        bind_to_device(sock, device)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        while True:
            orders.send(_carry_out(sock.fileno(), orders.recv()))


def _carry_out(descriptor: int, order: Order) -> Sent:
    train = _Train(descriptor, order.case)
    began = now = time.monotonic()
    pace, sent, rounds = Pacer(order.rate, now, order.round_s), 0, 0
    while now - began < order.seconds:
        if count := pace.packets_due(now):
            left = train.send(count)
            pace.record_sent(left, now)
            sent, rounds = sent + left, rounds + 1
        else:
            time.sleep(pace.seconds_to_wait(now))  # leaves CPU time to the relay
        now = time.monotonic()
    return Sent(sent, time.monotonic() - began, rounds)


class _Train:
    """Messages that all point to one payload, for any number of packets."""

    def __init__(self, descriptor: int, case: Case) -> None:
        self._descriptor = descriptor
        self._payload = np.zeros(max(case.lengths), np.uint8)
        self._messages = Messages(ROWS)
        self._messages.iovec["base"] = address_of(self._payload)
        self._messages.iovec["length"] = np.resize(case.lengths, ROWS)
        self._names = sockaddrs([(int(IPv4Address(one.address)), one.port) for one in case.inputs])
        self._run = min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // max(case.lengths)) if case.runs else 1
        self._next = 0  # index of the next message's destination

    def send(self, limit: int) -> int:
        """Send up to `limit` packets, waiting for room in the socket, and return how many were sent."""
        total = min(limit, ROWS)
        first = np.arange(0, total, self._run)
        count = np.minimum(self._run, total - first)
        place = (self._next + np.arange(len(first))) % len(self._names)
        names = address_of(self._names) + place * self._names.itemsize
        messages = self._messages.compose(first, count, names, TTL, 0)
        failures = self._messages.send(self._descriptor, 0, messages, flags=0)
        self._next += messages
        return total - sum(failure.datagrams for failure in failures)
