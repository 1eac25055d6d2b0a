"""Entry point of a worker process, which the supervisor starts: `python -I -m mcrelay.worker`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import NoReturn

# Every module is imported here, before privileges are dropped, because the unprivileged user may not be
# permitted to read Python's own files (a virtual environment below root's home).
from mcrelay.ipc.channel import BlockingChannel
from mcrelay.ipc.child_process import parse_options, run_unprivileged
from mcrelay.linux.boottime_timer import BoottimeTimer
from mcrelay.linux.scheduling import ask_for_short_slices
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.loop import Worker


def main() -> int:
    """Drop every privilege, and forward packets until the supervisor ends."""
    options = parse_options("mcrelay.worker", "worker", "ring-octets")
    return run_unprivileged(f"worker {options.worker}", options, lambda: _serve(options))


def _serve(options: argparse.Namespace) -> NoReturn:
    ask_for_short_slices()  # so that a packet does not wait until another process's time slice is over
    channel = BlockingChannel(options.channel)
    _, [memory] = channel.receive()
    counters = CounterWriter(memory)
    os.close(memory)
    worker = Worker(channel, counters, options.ring_octets)
    with suppress(OSError):  # without a timer, the clocks are read more often
        worker.ages.timer = BoottimeTimer(worker.ages.end_period)
    worker.run()


if __name__ == "__main__":
    sys.exit(main())
