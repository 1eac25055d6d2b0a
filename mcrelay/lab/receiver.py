"""The commands `mcrelay send` and `mcrelay receive` on hosts of the lab, and their reports."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

from mcrelay.lab.command import TIMEOUT_S, LabError, mcrelay, wait_until
from mcrelay.lab.host import Host


@dataclass(frozen=True, slots=True)
class Report:
    """The counts of `mcrelay receive` at one destination, with latencies in microseconds."""

    received: int
    lost: int
    duplicated: int
    reordered: int
    corrupt: int
    socket_drops: int
    ttls: list[int]
    latency: dict[str, float]
    received_from: dict[str, int]

    @property
    def is_flawless(self) -> bool:
        """True if no packet was lost, duplicated, reordered or corrupt."""
        return self.lost == self.duplicated == self.reordered == self.corrupt == 0

    @property
    def sources(self) -> list[str]:
        """The source addresses of the packets."""
        return list(self.received_from)


def report_from(document: dict[str, Any]) -> Report:
    """Return the report from the JSON document of `mcrelay receive --json`."""
    total = document["total"]
    received_from: dict[str, int] = {}
    for flow in document["flows"]:
        received_from[flow["source"]] = received_from.get(flow["source"], 0) + flow["received"]
    names = ("received", "lost", "duplicated", "reordered", "corrupt", "socket_drops")
    return Report(
        **{name: total[name] for name in names},
        ttls=total["ttl"],
        latency=total["latency_us"] or {},
        received_from=received_from,
    )


def send(host: Host, *arguments: str) -> dict[str, Any]:
    """Run `mcrelay send --json`, wait until it ends, and return its report."""
    return report_of(start_sending(host, *arguments))


def start_sending(host: Host, *arguments: str) -> subprocess.Popen[str]:
    """Start `mcrelay send --json`. Call `report_of` to wait until it ends."""
    return host.start(mcrelay("send", *arguments, "--json"))


def report_of(process: subprocess.Popen[str], seconds: float = 3 * TIMEOUT_S) -> dict[str, Any]:
    """Wait until `mcrelay send` or `receive` ends, and return its report. Raises LabError if it has none."""
    out, err = process.communicate(timeout=seconds)
    if not out:
        raise LabError(f"{process.args!r} ended with {process.returncode}: {err}")
    report: dict[str, Any] = json.loads(out)
    return report


class Receiver:
    """Runs `mcrelay receive` on a host, which counts packets to one destination from now on."""

    def __init__(self, host: Host, destination: str, device: str = "eth0", idle: float = 1) -> None:
        self.destination = destination
        options = ("--interface", device, "--idle", str(idle), "--json")
        self._process = host.start(mcrelay("receive", destination, *options))
        address, port = destination.split(":")
        wait_until(
            lambda: host.is_listening(address, int(port)) or self._process.poll() is not None,
            f"mcrelay receive {destination} on {host.namespace}",
        )

    def report(self) -> Report:
        """Wait until packets have stopped arriving for `idle` seconds, and return the report.

        At least one packet must arrive.
        """
        return report_from(report_of(self._process))

    def interrupt(self) -> Report:
        """Interrupt `mcrelay receive`, even if no packet has arrived, and return its report."""
        self._process.send_signal(signal.SIGINT)
        return self.report()
