"""How long mcrelay takes over a large configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bed import Bed
from benchmarks.case import RULES_10000
from benchmarks.effort import Effort
from benchmarks.figures import Question, Sample
from benchmarks.relays import Mcrelay, configuration
from mcrelay.lab import Daemon
from mcrelay.lab.command import mcrelay

QUESTION = Question(
    "scale",
    "How long does mcrelay take over 10,000 rules?",
    "s",
    "check: the command from start to end; start: from the command to READY; reload: from SIGHUP to READY",
)
CHECK, START, RELOAD, UNCHANGED = "check", "start", "reload, 1 rule changed", "reload, nothing changed"


def measure(bed: Bed, effort: Effort) -> Iterator[Sample]:
    """Check, start and reload."""
    yield _sample(CHECK, _check(bed))
    daemon = Daemon(bed.relay, bed.folder / "scale", configuration(RULES_10000))
    began = time.monotonic()
    with bed.apart(), daemon:
        yield _sample(START, time.monotonic() - began)
        yield _sample(
            RELOAD, _reload(daemon, configuration(RULES_10000).replace("port: 6001", "port: 6002", 1))
        )
        yield _sample(UNCHANGED, _reload(daemon, None))


def _sample(case: str, seconds: float) -> Sample:
    return Sample(QUESTION, case, Mcrelay.name, seconds)


def _check(bed: Bed) -> float:
    path = bed.folder / "large.yaml"
    path.write_text(configuration(RULES_10000))
    began = time.monotonic()
    bed.relay.run(mcrelay("check", str(path)))
    return time.monotonic() - began


def _reload(daemon: Daemon, config: str | None) -> float:
    began = time.monotonic()
    daemon.reload(config)
    return time.monotonic() - began
