"""The time from sending a packet to its arrival."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import ONE_FLOW
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.generator import TTL
from benchmarks.peers import ALL_RELAYS, run_relay
from benchmarks.testbed import Testbed
from mcrelay.lab import Receiver, send

RATE = 10_000  # packets a second
CASE = "1 flow, 1400 B, 10 kpps"
_METHOD = (
    "from just before `mcrelay send` passes a packet to the kernel, to the kernel's time stamp of its arrival"
)
P50 = Question("latency-p50", "What is the latency at 10 kpps, in the median?", "us", _METHOD)
P99 = Question("latency-p99", "What is the latency at 10 kpps, for 99 of 100 packets?", "us", _METHOD)
P999 = Question("latency-p99.9", "What is the latency at 10 kpps, for 999 of 1000 packets?", "us", _METHOD)


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Send at a steady rate through each relay."""
    source = ONE_FLOW.inputs[0]
    options = {"interface": "eth0", "rate": RATE, "duration": effort.paced, "ttl": TTL}
    for relay in ALL_RELAYS:
        with run_relay(testbed, relay, ONE_FLOW, apart=False):
            receiver = Receiver(testbed.receiver, str(relay.destinations(ONE_FLOW)[0]), idle=0.3)
            send(testbed.sender, str(source), *(f"--{name}={value}" for name, value in options.items()))
            latency = receiver.report().latency
        for question in (P50, P99, P999):
            percentile = question.key.removeprefix("latency-")
            yield Sample(question, CASE, relay.name, latency[percentile])
