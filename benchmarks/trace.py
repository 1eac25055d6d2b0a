"""What a trace costs the worker: of the rule that is traced, and of all others."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.case import LARGE, RULES_100
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.peers import Mcrelay
from benchmarks.saturation import TRIES, worked_off
from benchmarks.testbed import Testbed
from benchmarks.usage import cpu_seconds
from mcrelay.lab import Daemon
from mcrelay.lab.command import mcrelay

PACED_RATE = 40_000  # packets a second

SATURATION = Question(
    "trace-saturation",
    "What does a trace cost a worker at saturation?",
    "us",
    "CPU time of the worker for each packet while it works off a full ring; 100 rules, of which one has"
    " traffic, while `mcrelay trace` follows none, another, or that one",
)
PACED = Question(
    "trace-load",
    "What does a trace cost a worker at 40 kpps?",
    "us",
    "the same, at an even rate, waking up and going to sleep included; no figure where a packet was lost",
)
TRACED = {"no trace": None, "another rule traced": "r50", "this rule traced": "r0"}


def measure(testbed: Testbed, effort: Effort) -> Iterator[Sample]:
    """Relay without a trace and with each kind."""
    relay = Mcrelay()
    for name, rule in TRACED.items():
        case = f"{RULES_100.name}, {name}"
        with testbed.apart(), relay.running(testbed, RULES_100) as daemon, _traced(daemon, rule):
            with testbed.cable(relay.destinations(RULES_100), LARGE) as cable:
                cost = statistics.median(
                    worked_off(testbed, daemon.workers(), cable, RULES_100) for _ in range(TRIES)
                )
            yield Sample(SATURATION, case, relay.name, cost * 1e6)
            yield from _paced(testbed, daemon, relay, case, effort)


def _paced(testbed: Testbed, daemon: Daemon, relay: Mcrelay, case: str, effort: Effort) -> Iterator[Sample]:
    workers = daemon.workers()
    with testbed.sinks(relay.destinations(RULES_100)) as sinks:
        before = cpu_seconds(workers)
        trial = testbed.trial(sinks, RULES_100, PACED_RATE, effort.paced)
    if trial.is_lossless:
        yield Sample(PACED, case, relay.name, (cpu_seconds(workers) - before) / trial.arrived * 1e6)


@contextmanager
def _traced(daemon: Daemon, rule: str | None) -> Iterator[None]:
    """Follow a rule, and read all that is told of it."""
    if rule is None:
        yield
        return
    command = mcrelay("trace", rule, "--socket", str(daemon.run_dir / "control.sock"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as client:
        try:
            assert client.stderr is not None
            client.stderr.readline()  # it says that it traces
            yield
        finally:
            client.kill()
