"""The counters of a running relay, and receivers for many destinations."""

import os
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path

from mcrelay.lab import LabError, report_of
from mcrelay.lab.command import mcrelay, wait_until
from mcrelay.lab.receiver import report_from

_LINE = re.compile(
    r"(?:rule (?P<rule>\S+): (?P<state>.*)"
    r"|device (?P<link>\S+): (?P<of_link>.*)"
    r"|  in  (?P<came>.*)"
    r"|  out (?P<sent>.* to (?P<output>\S+) from .*))$"
)


@dataclass(frozen=True, slots=True)
class Row:
    """The counters of a link, a rule or an output, without drops of 0."""

    packets: int = 0
    drops: dict[str, int] = field(default_factory=dict)

    @property
    def total(self):
        """How many packets this accounts for."""
        return self.packets + sum(self.drops.values())


@dataclass(slots=True)
class Summary:
    """The summary in the log of a relay: states and counters, by name of rule, output and link."""

    states: dict[str, str] = field(default_factory=dict)
    rules: dict[str, Row] = field(default_factory=dict)
    outputs: dict[tuple[str, str], Row] = field(default_factory=dict)
    links: dict[str, Row] = field(default_factory=dict)


def summary(relay):
    """Request the counters of a running relay."""
    found, rule = Summary(), ""
    for line in relay.summary().splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        if match["rule"]:
            rule = match["rule"]
            found.states[rule] = match["state"]
        elif match["link"]:
            found.links[match["link"]] = _row(match["of_link"])
        elif match["came"]:
            found.rules[rule] = _row(match["came"])
        else:
            found.outputs[rule, match["output"]] = _row(match["sent"])
    return found


def _row(text):
    counted, _, dropped = text.partition("; dropped: ")
    drops = (drop.rsplit(" ", 1) for drop in dropped.split(", ") if drop)
    return Row(int(counted.split(" ")[0]), {reason: int(count) for reason, count in drops})


def link_of(relay):
    """Return the counters of the only link from which a running relay reads."""
    (link,) = summary(relay).links.values()
    return link


def prioritize(relay):
    """Give a relay, and the workers that it starts from now on, real-time priority.

    Its losses and delays are then not caused by tests that run beside it.
    """
    for process in (relay.process.pid, *relay.workers()):
        os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(1))


class Receivers:
    """One `mcrelay receive` that counts the packets of many destinations, from its construction on."""

    def __init__(self, host, destinations, idle=1):
        options = ("--interface=eth0", f"--idle={idle}", "--json")
        self._process = host.start(mcrelay("receive", *destinations, *options))
        said = self._process.stderr.readline()
        if not said.startswith("listening on "):
            raise LabError(f"mcrelay receive does not listen: {said}")

    def reports(self):
        """Wait until nothing has come for a while; return the report of each destination."""
        document = report_of(self._process)
        return {
            f"{one['destination']}:{one['port']}": report_from({"total": one, "flows": _flows(document, one)})
            for one in document["destinations"]
        }


def _flows(document, one):
    return [
        flow
        for flow in document["flows"]
        if (flow["destination"], flow["port"]) == (one["destination"], one["port"])
    ]


def assert_all_arrived(report, count):
    """No packet was lost, duplicated, reordered or corrupt. Drops of the receiver itself do not count."""
    assert report.received + report.socket_drops == count, report
    assert report.lost <= report.socket_drops, report
    assert report.duplicated == report.reordered == report.corrupt == 0, report


class Sending:
    """`mcrelay send` on a host while a `with` block runs; afterwards, `sent` is the number of packets.

    The first packets have been sent when the block begins.
    """

    def __init__(self, host, *destinations, rate=20_000, size=1400, source_port=None):
        options = ["--interface=eth0", f"--rate={rate}", f"--size={size}", "--ttl=1", "--json"]
        if source_port is not None:
            options.append(f"--source-port={source_port}")
        self._host = host
        self._command = mcrelay("send", *destinations, *options)
        self.sent = {}

    def __enter__(self):
        before = transmitted(self._host, "eth0")
        self._process = self._host.start(self._command)
        wait_until(lambda: transmitted(self._host, "eth0") > before + 100, "traffic")
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGINT)
        flows = report_of(self._process)["flows"]
        self.sent = {f"{flow['destination']}:{flow['port']}": flow["packets"] for flow in flows}


def received(host, device):
    """Return how many packets a device has received; cheap enough to be called repeatedly."""
    return _device_counts(host, device)[1]


def transmitted(host, device):
    """Return how many packets a device has sent."""
    return _device_counts(host, device)[9]


def _device_counts(host, device):
    """Return the columns of /proc/net/dev: 8 for received, 8 for sent; the second of each counts packets."""
    with host.enter_namespace():
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    columns = dict(line.split(":") for line in lines if ":" in line)
    counts = {name.strip(): [int(count) for count in values.split()] for name, values in columns.items()}
    return counts.get(device, [0] * 16)  # a device that is gone has none
