"""Entry of a worker's process, started by the supervisor: `python -I -m mcrelay.worker`."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from mcrelay.linux.sandbox import NotConfined, drop_all_privileges
from mcrelay.linux.scheduling import ask_for_short_slices

# All that is ever needed is imported here: once confined, the process may not be able to read Python's own
# files any more (a virtual environment below root's home).
from mcrelay.protocol.framing import WireError
from mcrelay.worker.channel import Channel, ChannelEnded
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.loop import Worker


def main() -> int:
    """Give up every privilege, prove it, and forward until the supervisor ends."""
    options = _options()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    try:
        drop_all_privileges(options.uid, options.gid)
    except (NotConfined, OSError) as error:
        print(f"worker {options.worker}: cannot give up privileges: {error}", file=sys.stderr)
        return 1
    ask_for_short_slices()  # a packet is not to wait until somebody else's turn is over
    try:
        channel = Channel(options.channel)
        _, [memory] = channel.receive()
        tally = CounterWriter(memory)
        os.close(memory)
        Worker(channel, tally, options.ring_octets).run()
    except ChannelEnded:
        return 0
    except WireError as error:
        print(f"worker {options.worker}: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mcrelay.worker")
    for name in ("worker", "channel", "ring-octets"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("uid", "gid"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
