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
from benchmarks.sinks import Sinks
from benchmarks.testbed import Testbed
from mcrelay.lab.command import wait_until
from mcrelay.traffic.endpoint import Endpoint, bind_to_device

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
    flow, destinations = ONE_FLOW.inputs[0], relay.destinations(ONE_FLOW)
    with testbed.sinks(destinations) as sinks, first_arrival(testbed, flow, sinks) as arrivals:
        began = time.monotonic()
        with relay.running(testbed, ONE_FLOW):
            wait_until(lambda: arrivals, f"the first packet from {relay.name}")
    return arrivals[0] - began


@contextmanager
def first_arrival(testbed: Testbed, flow: Endpoint, sinks: Sinks) -> Iterator[list[float]]:
    """Send packets to a flow until one has arrived at all sinks; the list gets the time of the arrival."""
    arrivals: list[float] = []
    with _connected(testbed, flow) as sender:
        watch = threading.Thread(target=_watch, args=(sender, sinks.all_reached, arrivals), daemon=True)
        watch.start()
        yield arrivals
        watch.join()


def _connected(testbed: Testbed, flow: Endpoint) -> socket.socket:
    """Return a socket on the sender that is connected to the destination of a flow."""
    with testbed.sender.enter_namespace():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bind_to_device(sender, "eth0")
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
    sender.connect((flow.address, flow.port))
    return sender


def _watch(sender: socket.socket, has_arrived: Callable[[], bool], arrivals: list[float]) -> None:
    """Send until a packet arrives, and append the time of its arrival."""
    while not has_arrived():
        sender.send(bytes(ONE_FLOW.lengths[0]))
        time.sleep(INTERVAL_S)
    arrivals.append(time.monotonic())
