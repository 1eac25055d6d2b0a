"""The time from the start of a relay to its first packet."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.case import ONE_FLOW
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import TTL
from benchmarks.peers import RELAYS, Relay
from benchmarks.testbed import Testbed
from mcrelay.lab.command import wait_until
from mcrelay.traffic.endpoint import bind_to_device

QUESTION = Question(
    "startup",
    "How long from the start to the first packet?",
    "ms",
    "from the start of the program to the first arrival at the receiver; a packet is sent every millisecond",
)
INTERVAL_S = 0.001


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Start each relay while packets are sent."""
    for relay in RELAYS:
        yield Sample(QUESTION, ONE_FLOW.name, relay.name, 1000 * _seconds(testbed, relay))


def _seconds(testbed: Testbed, relay: Relay) -> float:
    arrivals: list[float] = []
    with testbed.sinks(relay.destinations(ONE_FLOW)) as sinks, _trickle(testbed) as trickle:
        watch = threading.Thread(target=_watch, args=(trickle, sinks.all_reached, arrivals), daemon=True)
        watch.start()
        began = time.monotonic()
        with relay.running(testbed, ONE_FLOW):
            wait_until(lambda: arrivals, f"the first packet from {relay.name}")
        watch.join()
    return arrivals[0] - began


@contextmanager
def _trickle(testbed: Testbed) -> Iterator[socket.socket]:
    """Yield a socket on the sender that is connected to the flow's destination."""
    with testbed.sender.enter_namespace():
        trickle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with trickle:
        bind_to_device(trickle, "eth0")
        trickle.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        trickle.connect((ONE_FLOW.inputs[0].address, ONE_FLOW.inputs[0].port))
        yield trickle


def _watch(trickle: socket.socket, has_arrived: Callable[[], bool], arrivals: list[float]) -> None:
    """Send until a packet arrives, and append the time of its arrival."""
    while not has_arrived():
        trickle.send(bytes(ONE_FLOW.lengths[0]))
        time.sleep(INTERVAL_S)
    arrivals.append(time.monotonic())
