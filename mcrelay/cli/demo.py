"""`mcrelay demo`: relays real multicast between network namespaces, and tells the story."""

from __future__ import annotations

import argparse
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
from mcrelay.lab import Daemon, Host, Lab, LabError, Receiver, Report, report_of, send, start_sending

RATE = 5000  # packets a second
COUNT = 5 * RATE
BEFORE_RELOAD = 2.0  # seconds of traffic
WITHOUT_RELAY = 500  # packets

NETWORK = """\
mcrelay demo: multicast from a source that nobody can route

  sender                        relay                           receivers
  192.168.168.55 ----> eth0  10.1.0.1     eth1 10.2.0.1 ----> 10.2.0.2  plant
  sends 239.1.1.1:5001                    eth2 10.3.0.1 ----> 10.3.0.2  archive
  with TTL 1

These four hosts are network namespaces: real packets, real kernels, and nothing outside of them is touched.
The sender's address belongs to none of the networks of the relay host, as with a device that cannot be told
another; rp_filter is on, as usual.
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
  mcrelay check FILE                    finds every mistake in a configuration, offline
  mcrelay run -c FILE                   relays, on your own interfaces
  mcrelay receive GROUP:PORT -i DEVICE  tells whether multicast gets through, with `mcrelay send` or without
  README.md and examples/               have more configurations, each commented
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line: the demo has no options."""
    parser.description = (
        "Builds network namespaces for a sender, a relay and two receivers, relays multicast from a source"
        " that cannot be routed, reloads under traffic, shows what arrived, and cleans up. Takes about"
        " 15 seconds and needs root."
    )
    parser.epilog = (
        "Exit codes: 0 nothing was lost, 1 something was lost or the network could not be built, 2 usage,"
        " 4 not permitted."
    )


def run(options: argparse.Namespace) -> int:
    """Tell the story, and return whether it ended well."""
    if os.geteuid() != 0:
        print("mcrelay demo: needs root to build network namespaces: sudo mcrelay demo", file=sys.stderr)
        return Exit.NOT_PERMITTED
    if shutil.which("ip") is None:
        print("mcrelay demo: needs the command `ip`: apt install iproute2", file=sys.stderr)
        return Exit.FAILURE
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `with` cleans up as on Ctrl-C
    print(NETWORK, flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="mcrelay-demo-") as folder, Lab() as lab:
            network = _build(lab)
            _without_the_relay(network)
            well = _with_the_relay(network, Path(folder))
    except LabError as error:
        print(f"mcrelay demo: {error}", file=sys.stderr)
        return Exit.FAILURE
    print(NEXT)
    return Exit.OK if well else Exit.FAILURE


def _build(lab: Lab) -> Network:
    network = Network(*(lab.host(name) for name in ("sender", "relay", "plant", "archive")))
    lab.link(network.sender.end("eth0", "192.168.168.55/24"), network.relay.end("eth0", "10.1.0.1/24"))
    lab.link(network.relay.end("eth1", "10.2.0.1/24"), network.plant.end("eth0", "10.2.0.2/24"))
    lab.link(network.relay.end("eth2", "10.3.0.1/24"), network.archive.end("eth0", "10.3.0.2/24"))
    return network


def _without_the_relay(network: Network) -> None:
    """Show that even a member of the group gets nothing."""
    receiver = Receiver(network.relay, "239.1.1.1:5001")
    send(network.sender, *_traffic(WITHOUT_RELAY))
    received, dropped = receiver.interrupt().received, network.relay.counter("IPReversePathFilter")
    print(
        f"1. Without mcrelay\n"
        f"  A program on the relay host joins 239.1.1.1. Of {WITHOUT_RELAY} packets it receives {received}:\n"
        f"  the kernel dropped {dropped} for their source address, without a word (rp_filter).\n"
        f"  And with TTL 1 none of them would ever leave that host.\n",
        flush=True,
    )


def _with_the_relay(network: Network, folder: Path) -> bool:
    """Relay, reload under traffic, print what each receiver got, and return whether nothing was lost."""
    print(f"2. With mcrelay\n  mcrelay.yaml on the relay host:\n\n{_indented(CONFIG)}", flush=True)
    with Daemon(network.relay, folder, CONFIG) as relay:
        print("  $ mcrelay run -c mcrelay.yaml", flush=True)
        receivers = [
            ("plant", Receiver(network.plant, "239.2.2.2:6001")),
            ("archive", Receiver(network.archive, "239.2.2.3:6001")),
            ("archive", Receiver(network.archive, "239.2.2.4:6001")),
        ]
        print(f"  The sender sends {COUNT:,} packets of 1400 octets, {RATE:,} a second.", flush=True)
        sending = start_sending(network.sender, *_traffic(COUNT))
        time.sleep(BEFORE_RELOAD)
        print("  Meanwhile the file gets one more output, and the relay reloads (SIGHUP):\n")
        print(f"  + {ADDED_OUTPUT}", flush=True)
        print(f"  The relay says: {relay.reload(CONFIG + ADDED_OUTPUT)}\n", flush=True)
        sent = report_of(sending)["packets"]
        rows = [(name, receiver.destination, receiver.report()) for name, receiver in receivers]
    print(_table(rows))
    return _verdict(sent, [report for _, _, report in rows])


def _traffic(count: int) -> Sequence[str]:
    return ("239.1.1.1:5001", "--interface=eth0", "--ttl=1", f"--rate={RATE}", f"--count={count}")


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _table(rows: Sequence[tuple[str, str, Report]]) -> str:
    """Return what each receiver got, in columns: words to the left, numbers to the right."""
    cells = [HEADINGS, *(_row(*row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, SIDES, widths, strict=True))
        for line in cells
    )


def _row(name: str, destination: str, report: Report) -> tuple[str, ...]:
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


def _verdict(sent: int, reports: Sequence[Report]) -> bool:
    """Say in a sentence whether everything came, and return it."""
    *whole, added = reports
    well = all(report.received == sent for report in whole) and added.received > 0
    well = well and all(report.is_flawless for report in reports)
    if well:
        print(
            f"\n  Nothing was lost, and the reload cost no packet: all {sent:,} came to both receivers,\n"
            f"  under other groups, from addresses that can be routed, with a TTL that carries on.\n"
            f"  The added output got what was sent since, {added.received:,} packets without a gap.\n"
        )
    else:
        print(f"\n  Not all is well: {sent:,} packets were sent. Is this machine very busy just now?\n")
    return well
