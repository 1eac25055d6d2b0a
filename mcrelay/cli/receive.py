"""`mcrelay receive`: receives test packets, and reports loss, order and latency."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from mcrelay.cli import session
from mcrelay.cli.argument_types import positive_number, whole_number
from mcrelay.cli.error_report import report_error
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.interrupt import Interrupt
from mcrelay.cli.silence import explain_silence
from mcrelay.cli.view.progress import ProgressLine
from mcrelay.cli.view.traffic_report import Observation, build_report, format_report
from mcrelay.linux.descriptor_limit import raise_descriptor_limit
from mcrelay.traffic.endpoint import Endpoint, UsageError, parse_address, parse_endpoints
from mcrelay.traffic.receiver import ProbeReceiver
from mcrelay.traffic.sockets import count_drops, open_receiver

MAX_WAIT_S = 0.1  # longest wait for packets, after which Ctrl-C and the limits are checked
MAX_DRAIN_S = 1.0  # longest time for reading packets that arrived before the end

EPILOG = """\
Packets that `mcrelay send` did not send are counted, too: number, rate, sources and TTL.

Loss before the first or after the last packet is detected only with --expect.

If nothing arrives, a daemon on this host is asked whether it sends there, and the report says so.

With --json, the verb prints one object, which mcrelay-receive(1) and schemas/receive.schema.json describe.

Exit codes: 0 success, 1 packets were lost, corrupt or dropped, or fewer arrived than --count or --expect
demand, or none at one of the GROUPs, 2 usage, 4 not permitted.

Duplicates and reordering are not failures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `receive`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Receive test packets, and report loss, order and latency."
    parser.epilog = EPILOG
    _add_destinations(parser)
    _add_limits(parser)
    parser.add_argument(
        "--sources",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="join each GROUP for these sources only (SSM)",
    )
    session.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_destinations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "destinations",
        nargs="+",
        metavar="GROUP[:PORT]",
        help="multicast group to join, or address of this host",
    )
    parser.add_argument(
        "-i",
        "--interface",
        metavar="DEVICE",
        help="receive on this device only (default: chosen by the routes)",
    )
    parser.add_argument(
        "-p",
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="UDP port of each GROUP without a port",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1, 2**48),
        metavar="N",
        help="end after N packets in total; exit with 1 if fewer arrive",
    )
    parser.add_argument(
        "--expect",
        type=whole_number(1, 2**48),
        metavar="N",
        help="exit with 1 if fewer than N different packets arrive at a GROUP",
    )
    parser.add_argument(
        "-d",
        "--duration",
        type=positive_number,
        metavar="SECONDS",
        help="end after SECONDS (default: on Ctrl-C)",
    )
    parser.add_argument(
        "--idle",
        type=positive_number,
        metavar="SECONDS",
        help="after the first packet, end if none arrives for SECONDS",
    )


def run(options: argparse.Namespace) -> int:
    """Receive, and print the report."""
    try:
        observation = _observe(options)
        hints = explain_silence(observation.silent, options) if observation.silent else {}
        result = build_report(observation, hints)
    except (UsageError, OSError) as error:
        return report_error("receive", error)
    print(json.dumps(result) if options.json else format_report(result))
    return Exit.OK if result["ok"] else Exit.FAILURE


def _observe(options: argparse.Namespace) -> Observation:
    """Receive until a limit is reached or the user presses Ctrl-C, and return the counts."""
    destinations = parse_endpoints(options.destinations, options.port)
    sources = [parse_address(source) for source in options.sources]
    raise_descriptor_limit()
    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        sockets = {
            destination: stack.enter_context(open_receiver(destination, options.interface, sources))
            for destination in destinations
        }
        print(f"listening on {_list_names(destinations)}; Ctrl-C to end", file=sys.stderr, flush=True)
        began = time.monotonic()
        receiver = ProbeReceiver(sockets)
        ended = _receive(receiver, EndConditions(options.count, options.duration, options.idle), interrupt)
        seconds = time.monotonic() - began
        drops = {destination: count_drops(sock) for destination, sock in sockets.items()}
    return Observation(destinations, receiver.reception, drops, seconds, ended, options.count, options.expect)


def _list_names(destinations: list[Endpoint]) -> str:
    names = ", ".join(map(str, destinations[:3]))
    return names if len(destinations) <= 3 else f"{names} and {len(destinations) - 3} more"


@dataclass(frozen=True, slots=True)
class EndConditions:
    """The limits that end `receive`. Times are in seconds."""

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
    """Receive until a limit is reached or the user presses Ctrl-C. Return the limit's name, or `signal`."""
    live = ProgressLine(receiver.began)
    ended = None
    while ended is None:
        if not receiver.receive(MAX_WAIT_S):
            receiver.pause()
        now = time.monotonic()
        if live.is_due(now):
            live.show(now, _format_progress(receiver, now))
        ended = "signal" if interrupt.is_set else limits.first_reached(receiver, now)
    live.clear()
    until = now + MAX_DRAIN_S
    # Packets that arrived before the end count.
    while ended != "count" and receiver.receive(0) and now < until:
        now = time.monotonic()
    return ended


def _format_progress(receiver: ProbeReceiver, now: float) -> str:
    flows = receiver.reception.flows.values()
    lost = sum(flow.sequence.lost for flow in flows)
    return (
        f"{now - receiver.began:5.0f} s   {receiver.packets:,} packets   {len(flows)} flows   {lost:,} lost"
    )
