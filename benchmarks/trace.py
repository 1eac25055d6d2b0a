"""The CPU time that a trace costs a worker, for the traced rule and for others."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.case import LARGE, RULES_100
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import USERSPACE, Mcrelay
from benchmarks.saturation import TRIES, drain_cost
from benchmarks.testbed import Testbed
from benchmarks.usage import cpu_seconds
from mcrelay.lab import Daemon
from mcrelay.lab.command import mcrelay

PACED_RATE = 40_000  # packets a second

SATURATION = Question(
    "trace-saturation",
    "What does a trace cost a worker at saturation?",
    "us",
    "CPU time of the worker for each packet while it empties a full ring; one of 100 rules has traffic, and"
    " `mcrelay trace` follows no rule, another rule, or this rule",
)
PACED = Question(
    "trace-load",
    "What does a trace cost a worker at 40 kpps?",
    "us",
    "the same at a steady rate, including waking up and going to sleep; no figure if a packet was lost",
)
TRACED = {"no trace": None, "another rule traced": "r50", "this rule traced": "r0"}


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Relay without a trace, and with each kind of trace."""
    relay = USERSPACE
    for name, rule in TRACED.items():
        case = f"{RULES_100.name}, {name}"
        with testbed.apart(), relay.running(testbed, RULES_100) as daemon, _traced(daemon, rule):
            with testbed.counter(relay.destinations(RULES_100), LARGE) as counter:
                cost = statistics.median(
                    drain_cost(testbed, daemon.workers(), counter, RULES_100) for _ in range(TRIES)
                )
            yield Sample(SATURATION, case, relay.name, cost * 1e6)
            yield from _paced(testbed, daemon, relay, case, effort)


def _paced(testbed: Testbed, daemon: Daemon, relay: Mcrelay, case: str, effort: Effort) -> Iterator[Sample]:
    workers = daemon.workers()
    with testbed.sinks(relay.destinations(RULES_100)) as sinks:
        before = cpu_seconds(workers)
        transfer = testbed.transfer(sinks, RULES_100, PACED_RATE, effort.paced)
    if transfer.is_lossless:
        yield Sample(PACED, case, relay.name, (cpu_seconds(workers) - before) / transfer.arrived * 1e6)


@contextmanager
def _traced(daemon: Daemon, rule: str | None) -> Iterator[None]:
    """Run `mcrelay trace` for a rule during the block, or nothing if `rule` is None."""
    if rule is None:
        yield
        return
    command = mcrelay("trace", rule, "--socket", str(daemon.run_dir / "control.sock"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
        try:
            assert client.stderr is not None
            client.stderr.readline()  # its first line says that the trace has begun
            yield
        finally:
            client.kill()
