"""Entry of the control process, started by the supervisor: `python -I -m mcrelay.control`."""

from __future__ import annotations

import argparse
import signal
import sys

# All that is ever needed is imported here: once confined, the process may not be able to read Python's own
# files any more (a virtual environment below root's home).
from mcrelay.control.channel import Channel, ChannelEnded
from mcrelay.control.server import Server
from mcrelay.linux.sandbox import NotConfined, drop_all_privileges
from mcrelay.protocol.framing import WireError


def main() -> int:
    """Give up every privilege, prove it, and answer clients until the supervisor ends."""
    options = _options()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    try:
        drop_all_privileges(options.uid, options.gid)
    except (NotConfined, OSError) as error:
        print(f"control: cannot give up privileges: {error}", file=sys.stderr)
        return 1
    try:
        Server(Channel(options.channel)).run()
    except ChannelEnded:
        return 0
    except WireError as error:
        print(f"control: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mcrelay.control")
    parser.add_argument("--channel", type=int, required=True)
    for name in ("uid", "gid"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
