"""`mcrelay receive`: receives test packets, and reports loss, order and latency."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from mcrelay.cli.argument_types import positive_number, whole_number
from mcrelay.cli.error_report import report_error
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.interrupt import Interrupt
from mcrelay.cli.view.progress import ProgressLine
from mcrelay.cli.view.traffic_report import Observation, build_report, format_report
from mcrelay.traffic.endpoint import Endpoint, UsageError, parse_address, parse_endpoints
from mcrelay.traffic.receiver import ProbeReceiver
from mcrelay.traffic.sockets import allow_many_sockets, count_drops, open_receiver

MAX_WAIT_S = 0.1  # of one wait for packets, so that Ctrl-C and the limits are noticed
MAX_DRAIN_S = 1.0  # for reading packets that arrived before the end

EPILOG = """\
Packets that `mcrelay send` did not send are counted, too: number, rate, sources and TTL.

Loss before the first or after the last packet is detected only with --expect.

With --json, the verb prints one object, which mcrelay-receive(1) and schemas/receive.schema.json describe.

Exit codes: 0 success, 1 packets were lost, corrupt or dropped, or fewer arrived than --count or --expect
demand, or none at one of the GROUPs, 2 usage, 4 not permitted.

Duplicates and reordering are not failures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `receive`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Receive test packets, and report loss, order and latency."
    parser.epilog = EPILOG
    add = parser.add_argument
    add(
        "destinations",
        nargs="+",
        metavar="GROUP[:PORT]",
        help="multicast group to join, or address of this host",
    )
    add(
        "-i",
        "--interface",
        metavar="DEVICE",
        help="receive on this device only (default: chosen by the routes)",
    )
    add(
        "-p",
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="UDP port of each GROUP that names none",
    )
    add(
        "-n",
        "--count",
        type=whole_number(1, 2**48),
        metavar="N",
        help="end after N packets in total; fewer are a failure",
    )
    add(
        "--expect",
        type=whole_number(1, 2**48),
        metavar="N",
        help="fewer than N different packets at a GROUP are a failure",
    )
    add(
        "-d",
        "--duration",
        type=positive_number,
        metavar="SECONDS",
        help="end after SECONDS (default: on Ctrl-C)",
    )
    add(
        "--idle",
        type=positive_number,
        metavar="SECONDS",
        help="end after SECONDS without a packet, once one has arrived",
    )
    add(
        "--sources",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="join each GROUP for these sources only (SSM)",
    )
    add("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Receive, and print the report."""
    try:
        result = build_report(_observe(options))
    except (UsageError, OSError) as error:
        return report_error("receive", error)
    print(json.dumps(result) if options.json else format_report(result))
    return Exit.OK if result["ok"] else Exit.FAILURE


def _observe(options: argparse.Namespace) -> Observation:
    """Listen until a limit or the user ends it."""
    destinations = parse_endpoints(options.destinations, options.port)
    sources = [parse_address(source) for source in options.sources]
    allow_many_sockets()
    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        sockets = {
            one: stack.enter_context(open_receiver(one, options.interface, sources)) for one in destinations
        }
        print(f"listening on {_list_names(destinations)}; Ctrl-C to end", file=sys.stderr, flush=True)
        began = time.monotonic()
        receiver = ProbeReceiver(sockets)
        ended = _receive(receiver, EndConditions(options.count, options.duration, options.idle), interrupt)
        seconds = time.monotonic() - began
        drops = {one: count_drops(sock) for one, sock in sockets.items()}
    return Observation(destinations, receiver.reception, drops, seconds, ended, options.count, options.expect)


def _list_names(destinations: list[Endpoint]) -> str:
    names = ", ".join(map(str, destinations[:3]))
    return names if len(destinations) <= 3 else f"{names} and {len(destinations) - 3} more"


@dataclass(frozen=True, slots=True)
class EndConditions:
    """The limits that end the listening; times are in seconds."""

    count: int | None
    duration: float | None
    idle: float | None

    def first_reached(self, receiver: ProbeReceiver, now: float) -> str | None:
        """Return the name of the first limit that is reached, or None."""
        if self.count and receiver.packets >= self.count:
            return "count"
        if self.duration and now - receiver.began >= self.duration:
            return "duration"
        if self.idle and receiver.packets and now - receiver.last_arrival >= self.idle:
            return "idle"
        return None


def _receive(receiver: ProbeReceiver, limits: EndConditions, interrupt: Interrupt) -> str:
    """Receive until a limit is reached or the user ends it; return the name of the limit, or `signal`."""
    live = ProgressLine(receiver.began)
    ended = None
    while ended is None:
        if not receiver.receive(MAX_WAIT_S):
            receiver.pause()
        now = time.monotonic()
        if live.is_due(now):
            live.show(now, _progress(receiver, now))
        ended = "signal" if interrupt.is_set else limits.first_reached(receiver, now)
    live.clear()
    until = now + MAX_DRAIN_S
    while (
        ended != "count" and receiver.receive(0) and now < until
    ):  # packets that arrived before the end count
        now = time.monotonic()
    return ended


def _progress(receiver: ProbeReceiver, now: float) -> str:
    flows = receiver.reception.flows.values()
    lost = sum(flow.sequence.lost for flow in flows)
    return (
        f"{now - receiver.began:5.0f} s   {receiver.packets:,} packets   {len(flows)} flows   {lost:,} lost"
    )
