"""`mcrelay demo`: relays real multicast between network namespaces, and explains each step."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.table import GAP, align
from mcrelay.lab import Daemon, Host, Lab, LabError, Receiver, Report, report_of, send, start_sending

RATE_PPS = 5000  # packets a second
PACKETS = 5 * RATE_PPS
RELOAD_AFTER_S = 2.0  # from the start of the traffic
PACKETS_WITHOUT_RELAY = 500

NETWORK = """\
mcrelay demo: relaying multicast from an unroutable source

  sender                        relay                           receivers
  192.168.168.55 ----> eth0  10.1.0.1     eth1 10.2.0.1 ----> 10.2.0.2  plant
  sends 239.1.1.1:5001                    eth2 10.3.0.1 ----> 10.3.0.2  archive
  with TTL 1

The four hosts are network namespaces: the packets are real, and nothing outside the namespaces is changed.
The sender's address is in none of the relay host's networks, as with a device whose address cannot be
changed. rp_filter is on, as in most distributions.
"""

CONFIG = """\
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1}
  archive: {device: eth2}
rules:
  camera:
    input: {interface: studio, group: 239.1.1.1, port: 5001}
    outputs:
      - {interface: plant, group: 239.2.2.2, port: 6001}
      - {interface: archive, group: 239.2.2.3, port: 6001}
"""
ADDED_OUTPUT = "      - {interface: archive, group: 239.2.2.4, port: 6001}\n"

NEXT = """\
Next
  mcrelay check FILE                    lists every problem of a configuration, offline
  mcrelay run -c FILE                   relays on your own interfaces
  mcrelay receive GROUP:PORT -i DEVICE  shows which multicast arrives, from `mcrelay send` or any other sender
  README.md and examples/               have more configurations, with comments
"""

HEADINGS = ("receiver", "group", "source", "TTL", "received", "lost", "duplicated", "latency p50", "p99")
SIDES = "<<<>>>>>>"


@dataclass(frozen=True, slots=True)
class Network:
    """The hosts of the demo."""

    sender: Host
    relay: Host
    plant: Host
    archive: Host


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the description of `demo`, which has no arguments."""
    parser.description = (
        "Build network namespaces for a sender, a relay and two receivers, relay multicast from an unroutable"
        " source, reload under traffic, show what arrived, and clean up. Takes about 15 seconds; needs root."
    )
    parser.epilog = (
        "Exit codes: 0 no packet was lost, 1 packets were lost, or the namespaces could not be built,"
        " 2 usage, 4 not permitted."
    )


def run(options: argparse.Namespace) -> int:
    """Run the demo. Return 0 if no packet was lost."""
    if os.geteuid() != 0:
        print(
            "mcrelay demo: building network namespaces needs root: use `sudo mcrelay demo`", file=sys.stderr
        )
        return Exit.NOT_PERMITTED
    if shutil.which("ip") is None:
        print("mcrelay demo: the command `ip` is missing: install iproute2", file=sys.stderr)
        return Exit.FAILURE
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `with` cleans up as on Ctrl-C
    print(NETWORK, flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="mcrelay-demo-") as directory, Lab() as lab:
            network = _build(lab)
            _show_without_relay(network)
            is_lossless = _show_with_relay(network, Path(directory))
    except LabError as error:
        print(f"mcrelay demo: {error}", file=sys.stderr)
        return Exit.FAILURE
    print(NEXT)
    return Exit.OK if is_lossless else Exit.FAILURE


def _build(lab: Lab) -> Network:
    network = Network(*(lab.host(name) for name in ("sender", "relay", "plant", "archive")))
    lab.link(network.sender.end("eth0", "192.168.168.55/24"), network.relay.end("eth0", "10.1.0.1/24"))
    lab.link(network.relay.end("eth1", "10.2.0.1/24"), network.plant.end("eth0", "10.2.0.2/24"))
    lab.link(network.relay.end("eth2", "10.3.0.1/24"), network.archive.end("eth0", "10.3.0.2/24"))
    return network


def _show_without_relay(network: Network) -> None:
    """Show that a member of the group receives no packet without mcrelay."""
    receiver = Receiver(network.relay, "239.1.1.1:5001")
    send(network.sender, *_make_send_arguments(PACKETS_WITHOUT_RELAY))
    received, dropped = receiver.interrupt().received, network.relay.counter("IPReversePathFilter")
    print(
        f"1. Without mcrelay\n"
        f"  A program on the relay host joins 239.1.1.1."
        f" Of {PACKETS_WITHOUT_RELAY} packets it receives {received}:\n"
        f"  the kernel silently dropped {dropped} because of their source address (rp_filter).\n"
        f"  With TTL 1, none of them could be routed beyond that host either.\n",
        flush=True,
    )


def _show_with_relay(network: Network, directory: Path) -> bool:
    """Relay packets, reload meanwhile, and print the report of each receiver. Return whether all arrived."""
    print(f"2. With mcrelay\n  mcrelay.yaml on the relay host:\n\n{_indent(CONFIG)}", flush=True)
    with Daemon(network.relay, directory, CONFIG) as relay:
        print("  $ mcrelay run -c mcrelay.yaml", flush=True)
        receivers = [
            ("plant", Receiver(network.plant, "239.2.2.2:6001")),
            ("archive", Receiver(network.archive, "239.2.2.3:6001")),
            ("archive", Receiver(network.archive, "239.2.2.4:6001")),
        ]
        print(
            f"  The sender sends {PACKETS:,} packets with 1400 bytes of payload, {RATE_PPS:,} a second.",
            flush=True,
        )
        sending = start_sending(network.sender, *_make_send_arguments(PACKETS))
        time.sleep(RELOAD_AFTER_S)
        print("  Meanwhile an output is added to the file, and the relay reloads it (SIGHUP):\n")
        print(f"  + {ADDED_OUTPUT}", flush=True)
        print(f"  The relay reports: {relay.reload(CONFIG + ADDED_OUTPUT)}", flush=True)
        print(f"  {_describe_data_plane(relay)}\n", flush=True)
        sent = report_of(sending)["packets"]
        rows = [(name, receiver.destination, receiver.report()) for name, receiver in receivers]
    print(_format_table(rows))
    return _conclude(sent, [report for _, _, report in rows])


def _describe_data_plane(relay: Daemon) -> str:
    (rule,) = json.loads(relay.ask("status", "--json").stdout)["rules"]
    if rule["data_plane"] == "kernel":
        return "The packets are relayed by an eBPF program in the kernel."
    return f"The packets are relayed by worker processes: {rule['data_plane_reason']}"


def _make_send_arguments(count: int) -> Sequence[str]:
    return ("239.1.1.1:5001", "--interface=eth0", "--ttl=1", f"--rate={RATE_PPS}", f"--count={count}")


def _indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _format_table(rows: Sequence[tuple[str, str, Report]]) -> str:
    """Return a table with the name, the destination and the report of each receiver."""
    return "\n".join(GAP + line for line in align([HEADINGS, *(_make_row(*row) for row in rows)], SIDES))


def _make_row(name: str, destination: str, report: Report) -> tuple[str, ...]:
    return (
        name,
        destination,
        " ".join(report.sources),
        " ".join(map(str, report.ttls)),
        f"{report.received:,}",
        f"{report.lost:,}",
        f"{report.duplicated:,}",
        f"{report.latency.get('p50', nan):,.0f} us",
        f"{report.latency.get('p99', nan):,.0f} us",
    )


def _conclude(sent: int, reports: Sequence[Report]) -> bool:
    """Print and return whether every packet arrived. The last report is that of the added output."""
    *complete, added = reports
    is_complete = all(report.received == sent for report in complete) and added.received > 0
    is_lossless = is_complete and all(report.is_flawless for report in reports)
    if is_lossless:
        print(
            f"\n  No packet was lost, not even during the reload: all {sent:,} arrived at both receivers,\n"
            f"  sent to other groups, from routable addresses, with a TTL that lets routers forward them.\n"
            f"  The added output received all {added.received:,} packets sent since then, without a gap.\n"
        )
    else:
        print(f"\n  Packets were lost: {sent:,} were sent. Is this machine very busy?\n")
    return is_lossless
