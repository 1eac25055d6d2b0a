"""`mcrelay send`: sends numbered packets with time stamps and checksums for `mcrelay receive`."""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import math
import socket
import sys
import time
from typing import Any

from mcrelay.cli.argument_types import positive_number, whole_number
from mcrelay.cli.error_report import report_error
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.interrupt import Interrupt
from mcrelay.cli.view.progress import ProgressLine
from mcrelay.linux.constants import PR_SET_TIMERSLACK
from mcrelay.traffic.endpoint import (
    UsageError,
    bind,
    bind_to_device,
    device_mtu,
    parse_address,
    parse_endpoints,
)
from mcrelay.traffic.pacer import Pacer
from mcrelay.traffic.probe import MAX_PAYLOAD, MIN_PAYLOAD
from mcrelay.traffic.sender import ProbeSender

JSON_VERSION = 1  # version of the shape of --json
GROUP_TTL, HOST_TTL = 1, 64  # the kernel's defaults: multicast is not routed
HEADER_BYTES = 28  # IPv4 and UDP
UNLIMITED_PPS = 1e9  # packets a second, more than any machine sends
MAX_SLEEP_S = 0.1  # so that Ctrl-C is noticed at any rate
SPIN_S = 0.00005  # shorter waits are busy loops, because a sleep would end late

EPILOG = """\
--rate and --count apply to each GROUP; several GROUPs get their packets in turn. A payload holds the flow, a
sequence number, the time of sending, and padding; `mcrelay receive` verifies every byte.

With --segments, the device cuts each large packet into the packets of the given size. A veth passes large
packets uncut to its peer: run `ethtool -K DEVICE tx-udp-segmentation off` first.

With --json, the verb prints one object, which mcrelay-send(1) and schemas/send.schema.json describe.

Exit codes: 0 all packets were sent, 1 some were not, 2 usage, 4 not permitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `send`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Send numbered test packets to groups or hosts; `mcrelay receive` reports which of them arrive."
    )
    parser.epilog = EPILOG
    _add_destinations(parser)
    _add_amounts(parser)
    _add_header_fields(parser)
    parser.add_argument(
        "--segments",
        action="store_true",
        help="let the kernel split large packets (UDP_SEGMENT), for 3 times the rate; for one GROUP only",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_destinations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "destinations", nargs="+", metavar="GROUP[:PORT]", help="multicast group or host address"
    )
    parser.add_argument(
        "-i", "--interface", metavar="DEVICE", help="send from this device (default: chosen by the routes)"
    )
    parser.add_argument(
        "-p",
        "--port",
        type=whole_number(1, 65535),
        metavar="N",
        help="UDP port of each GROUP without a port",
    )


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the rate, the size and the number of the packets."""
    parser.add_argument(
        "-r",
        "--rate",
        type=parse_rate,
        default=100.0,
        metavar="N",
        help="packets a second, or `max` (default: 100)",
    )
    parser.add_argument(
        "-s",
        "--size",
        type=whole_number(MIN_PAYLOAD, MAX_PAYLOAD),
        default=1400,
        metavar="BYTES",
        help=f"length of the payload, {MIN_PAYLOAD} to {MAX_PAYLOAD} bytes (default: 1400)",
    )
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1, 2**48),
        metavar="N",
        help="end after N packets (default: on Ctrl-C)",
    )
    parser.add_argument(
        "-d",
        "--duration",
        type=positive_number,
        metavar="SECONDS",
        help="end after SECONDS (default: on Ctrl-C)",
    )


def _add_header_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ttl",
        type=whole_number(1, 255),
        metavar="N",
        help=f"time to live (default: {GROUP_TTL} to a group, {HOST_TTL} to a host)",
    )
    parser.add_argument(
        "--dscp", type=whole_number(0, 63), default=0, metavar="N", help="DSCP, 0 to 63 (default: 0)"
    )
    parser.add_argument(
        "--source", metavar="ADDRESS", help="source address, one of this host (default: chosen by the kernel)"
    )
    parser.add_argument(
        "--source-port",
        type=whole_number(1, 65535),
        metavar="N",
        help="source port (default: chosen by the kernel)",
    )


def parse_rate(text: str) -> float:
    """Return a rate in packets a second, for `type=` of argparse; `max` is UNLIMITED_PPS."""
    return UNLIMITED_PPS if text == "max" else min(positive_number(text), UNLIMITED_PPS)


def run(options: argparse.Namespace) -> int:
    """Send, and print the result."""
    try:
        return _send(options)
    except (UsageError, OSError) as error:
        return report_error("send", error)


def _send(options: argparse.Namespace) -> int:
    destinations = parse_endpoints(options.destinations, options.port)
    if options.segments and len(destinations) > 1:
        raise UsageError("--segments works with one GROUP only")
    with _open_socket(options) as sock, Interrupt() as interrupt:
        ttls = [
            options.ttl or (GROUP_TTL if destination.is_group else HOST_TTL) for destination in destinations
        ]
        traffic = ProbeSender(
            sock.fileno(), destinations, options.size, ttls, options.dscp << 2, options.segments
        )
        began = time.monotonic()
        ended = _transmit(traffic, options, interrupt)
        result = _build_result(traffic, options.size, ended, time.monotonic() - began, sock.getsockname()[1])
    print(json.dumps(result) if options.json else _format_result(result))
    return Exit.OK if result["ok"] else Exit.FAILURE


def _open_socket(options: argparse.Namespace) -> socket.socket:
    """Return a socket bound to the device, address and port of the options. Raises UsageError or OSError."""
    source = parse_address(options.source) if options.source else ""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if options.interface is not None:
        bind_to_device(sock, options.interface)
        if options.size + HEADER_BYTES > (largest := device_mtu(sock, options.interface)):
            _note(
                f"{options.size} bytes exceed the MTU of {options.interface} ({largest}): sending fragments"
            )
    bind(sock, source, options.source_port or 0)
    return sock


def _transmit(traffic: ProbeSender, options: argparse.Namespace, interrupt: Interrupt) -> str:
    """Send until a limit is reached or the user presses Ctrl-C. Return `count`, `duration` or `signal`."""
    began = now = time.monotonic()
    end = began + options.duration if options.duration else math.inf
    total = options.count * len(traffic.destinations) if options.count else math.inf
    pace, live = Pacer(options.rate * len(traffic.destinations), now), ProgressLine(now)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # sleeps end on time, not up to 50 us later
    while traffic.attempted < total and now < end and not interrupt.is_set:
        if live.is_due(now):
            live.show(now, f"{now - began:5.0f} s   {traffic.attempted:,} packets")
        if count := pace.packets_due(now):
            pace.record_sent(traffic.send(int(min(count, total - traffic.attempted))), now)
        elif (wait := min(pace.seconds_to_wait(now), end - now)) > SPIN_S:
            time.sleep(min(wait - SPIN_S, MAX_SLEEP_S))
        now = time.monotonic()
    live.clear()
    if traffic.attempted >= total:
        return "count"
    return "signal" if interrupt.is_set else "duration"


def _build_result(
    traffic: ProbeSender, size: int, ended: str, seconds: float, source_port: int
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    packets = sum(traffic.sent)
    per_second = packets / seconds
    return {
        "version": JSON_VERSION,
        "ok": not traffic.failures,
        "ended": ended,
        "seconds": round(seconds, 3),
        "packets": packets,
        "octets": packets * size,
        "packets_per_second": round(per_second, 1),
        "mbit_per_second": round(per_second * size * 8 / 1e6, 3),
        "size": size,
        "source_port": source_port,
        "not_sent": {errno.errorcode.get(code, str(code)): count for code, count in traffic.failures.items()},
        "flows": [
            {
                "destination": destination.address,
                "port": destination.port,
                "flow": flow,
                "packets": sent,
                "ttl": ttl,
            }
            for destination, flow, sent, ttl in zip(
                traffic.destinations, traffic.flows, traffic.sent, traffic.ttls, strict=True
            )
        ],
    }


def _format_result(result: dict[str, Any]) -> str:
    """Return the result as text."""
    flows = result["flows"]
    lines = [
        f"sent {result['packets']:,} packets of {result['size']:,} bytes in {result['seconds']:.1f} s:"
        f" {result['packets_per_second']:,.0f} packets/s, {result['mbit_per_second']:,.1f} Mbit/s",
        *(
            f"  to {flow['destination']}:{flow['port']}   {flow['packets']:,} packets"
            f"   TTL {flow['ttl']}   flow {flow['flow']:08x}"
            for flow in flows
        ),
        *(f"  NOT sent: {count:,} packets, {name}" for name, count in result["not_sent"].items()),
    ]
    return "\n".join(lines)


def _note(text: str) -> None:
    print(f"mcrelay send: note: {text}", file=sys.stderr)
