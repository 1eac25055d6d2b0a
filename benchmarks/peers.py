"""The relays: mcrelay, and the peers that it is compared with.

Each says which cases it supports and where its packets are sent, and runs on the relay's host.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from benchmarks import case as cases
from benchmarks.case import Case
from benchmarks.sinks import Sinks
from benchmarks.testbed import RELAY_IN, RELAY_OUT, Testbed
from benchmarks.usage import cpu_seconds
from mcrelay.lab import Daemon, LabError
from mcrelay.lab.command import wait_until
from mcrelay.traffic.endpoint import Endpoint

REST_S, MAX_REST_CPU_S = 0.1, 0.002
SOCKET_BUFFER = 64 << 20  # bytes; the kernel limits it to net.core.rmem_max


class Relay(Protocol):
    """A relay from eth0 to eth1. With `is_in_kernel`, no process of it handles packets."""

    name: str
    is_in_kernel: bool

    def why_not(self, case: Case) -> str | None:
        """Return why this relay cannot run a case, or None if it can."""

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return the destinations of its packets."""

    def running(self, testbed: Testbed, case: Case) -> AbstractContextManager[object]:
        """Return a context manager that runs the relay."""


class Mcrelay:
    """This project, with all rules in one data plane; one worker, as by default, in userspace."""

    def __init__(self, name: str, data_plane: str, is_exclusive: bool = False) -> None:
        self.name = name
        self.data_plane = data_plane
        self.is_exclusive = is_exclusive
        self.is_in_kernel = data_plane == "kernel"

    def why_not(self, case: Case) -> str | None:
        """Return None: it can run every case."""
        return None

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return other groups and ports."""
        return case.copies

    @contextmanager
    def running(self, testbed: Testbed, case: Case, watch: bool = True) -> Iterator[Daemon]:
        """Run `mcrelay run`, which notices changes of its files with `watch`."""
        with (
            tempfile.TemporaryDirectory(dir=testbed.folder) as path,  # no history of another run
            Daemon(testbed.relay, Path(path), self.configuration(case), watch=watch) as daemon,
        ):
            if self.is_in_kernel and daemon.workers():
                raise LabError(f"{self.name}: a worker relays; {daemon.ask('status').stdout}")
            yield daemon

    def configuration(self, case: Case) -> str:
        """Return the configuration for a case, with one rule on each line."""
        options = ", exclusive: true" if self.is_exclusive else ""
        lines = [
            "version: 1",
            "max_age: 1min",
            f"data_plane: {self.data_plane}",
            "interfaces: {in: {device: eth0}, out: {device: eth1}}",
            "rules:",
            *(rule(number, case.outputs, options) for number in range(case.rules)),
        ]
        return "\n".join(lines) + "\n"


class Socat:
    """The usual relay without privileges: a process for each flow and output."""

    name = "socat"
    is_in_kernel = False

    def why_not(self, case: Case) -> str | None:
        """Refuse cases with many rules: thousands of processes would measure something else."""
        return "a process for each rule" if case.rules > 100 or case.flows != case.rules else None

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return other groups and ports."""
        return case.copies

    @contextmanager
    def running(self, testbed: Testbed, case: Case) -> Iterator[None]:
        """Run the processes, each with the largest receive buffer that the machine allows."""
        processes = [
            testbed.relay.start(self._command(cases.flow(number), cases.copy(number, output)))
            for number in range(case.flows)
            for output in range(case.outputs)
        ]
        with _terminate_after(processes):
            yield

    def _command(self, source: Endpoint, target: Endpoint) -> list[str]:
        receive = (
            f"UDP4-RECV:{source.port},bind={source.address},reuseaddr,rcvbuf={SOCKET_BUFFER},"
            f"ip-add-membership={source.address}:{RELAY_IN}"
        )
        send = f"UDP4-DATAGRAM:{target.address}:{target.port},ip-multicast-if={RELAY_OUT},ip-multicast-ttl=64"
        return ["socat", "-u", receive, send]


class Smcroute:
    """The kernel's multicast routing, set up by smcrouted: same group, same source, no copy to user space."""

    name = "smcroute"
    is_in_kernel = True

    def why_not(self, case: Case) -> str | None:
        """Refuse fan-out: a route sends one packet to each device."""
        return "one packet for each device" if case.outputs > 1 else _only_traffic(case)

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return the groups of the inputs: it cannot change the group."""
        return case.inputs

    @contextmanager
    def running(self, testbed: Testbed, case: Case) -> Iterator[None]:
        """Run smcrouted."""
        config = testbed.folder / "smcroute.conf"
        groups = [one.address for one in case.inputs]
        config.write_text(
            "phyint eth0 enable\nphyint eth1 enable\n"
            + "".join(f"mgroup from eth0 group {group}\n" for group in groups)
            + "".join(f"mroute from eth0 group {group} to eth1\n" for group in groups)
        )
        files = ["-P", str(testbed.folder / "smcroute.pid"), "-u", str(testbed.folder / "smcroute.sock")]
        command = ["smcrouted", "-n", "-N", "-f", str(config), *files]
        with _terminate_after(
            [testbed.relay.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
        ):
            yield


class Nftables:
    """Rules at the ingress of eth0 that rewrite addresses and port, and forward the packet to eth1.

    The host does not get the packet, as with `exclusive`.
    """

    name = "nftables"
    is_in_kernel = True

    def why_not(self, case: Case) -> str | None:
        """Refuse cases with rules that have no traffic."""
        return _only_traffic(case)

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return other groups and ports."""
        return case.copies

    @contextmanager
    def running(self, testbed: Testbed, case: Case) -> Iterator[None]:
        """Load the rules."""
        with _nftables(testbed, ruleset(case, _ethernet_address(testbed))):
            yield


class NftablesDup:
    """Rules at the ingress of eth0 that send copies to eth1, whose egress has rules that rewrite them.

    The host gets the packet as it was, and has joined the groups, as without `exclusive` of mcrelay.
    """

    name = "nftables dup"
    is_in_kernel = True

    def why_not(self, case: Case) -> str | None:
        """Refuse cases with rules that have no traffic."""
        return _only_traffic(case)

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return other groups and ports."""
        return case.copies

    @contextmanager
    def running(self, testbed: Testbed, case: Case) -> Iterator[None]:
        """Join the groups, and load the rules."""
        testbed.relay.run(["sysctl", "-q", "-w", f"net.ipv4.igmp_max_memberships={case.flows + 20}"])
        groups = [f"{one.address}/32" for one in case.inputs]
        for group in groups:
            testbed.relay.run(["ip", "address", "add", group, "dev", "eth0", "autojoin"])
        try:
            with _nftables(testbed, dup_ruleset(case, _ethernet_address(testbed))):
                yield
        finally:
            for group in groups:
                testbed.relay.run(["ip", "address", "delete", group, "dev", "eth0"])


class Mcr:
    """A relay in Rust (github.com/acooks/mcr), which is compared where its `mcrd` is on the PATH."""

    name = "mcr"
    is_in_kernel = False

    def why_not(self, case: Case) -> str | None:
        """Return None: it can run every case."""
        return None

    def destinations(self, case: Case) -> list[Endpoint]:
        """Return other groups and ports."""
        return case.copies

    @contextmanager
    def running(self, testbed: Testbed, case: Case) -> Iterator[None]:
        """Run `mcrd` with one worker."""
        config = testbed.folder / "mcr.json5"
        config.write_text(mcr_rules(case))
        files = ["--config", str(config), "--control-socket-path", str(testbed.folder / "mcr.sock")]
        command = ["mcrd", "supervisor", "--interface", "eth0", "--num-workers", "1", *files]
        with _terminate_after(
            [testbed.relay.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
        ):
            yield


KERNEL = Mcrelay("mcrelay kernel", "kernel")
EXCLUSIVE = Mcrelay("mcrelay exclusive", "kernel", is_exclusive=True)
USERSPACE = Mcrelay("mcrelay userspace", "userspace")
PLANES = (KERNEL, USERSPACE)
IN_PROCESSES: list[Relay] = [Socat(), *([Mcr()] if shutil.which("mcrd") else [])]
RELAYS: list[Relay] = [KERNEL, USERSPACE, *IN_PROCESSES, Smcroute(), Nftables()]
# Where the copy that the host gets is part of the question: with it and without.
ALL_RELAYS: list[Relay] = [KERNEL, EXCLUSIVE, *RELAYS[1:], NftablesDup()]


def rule(number: int, outputs: int = 1, options: str = "") -> str:
    """Return the line of one rule of mcrelay; `options` follow its outputs."""
    flow, copies = cases.flow(number), [cases.copy(number, output) for output in range(outputs)]
    to = ", ".join(f"{{interface: out, group: {one.address}, port: {one.port}}}" for one in copies)
    source = f"{{interface: in, group: {flow.address}, port: {flow.port}}}"
    return f"  r{number}: {{input: {source}, outputs: [{to}]{options}}}"


def mcr_rules(case: Case) -> str:
    """Return the configuration of mcr for a case."""
    rules = [
        {
            "name": f"r{number}",
            "input": {"interface": "eth0", "group": flow.address, "port": flow.port},
            "outputs": [
                {"interface": "eth1", "group": to.address, "port": to.port}
                for to in (cases.copy(number, output) for output in range(case.outputs))
            ],
        }
        for number, flow in enumerate(map(cases.flow, range(case.rules)))
    ]
    return json.dumps({"rules": rules})


def ruleset(case: Case, ethernet: str) -> str:
    """Return a script for nft: a map to a chain for each flow; `dup` sends the copies, `fwd` the last one."""
    chains, elements = [], []
    for number, flow in enumerate(case.inputs):
        copies = [_readdressed(cases.copy(number, output), ethernet) for output in range(case.outputs)]
        steps = "".join(f"{copy} dup to eth1\n" for copy in copies[:-1]) + f"{copies[-1]} fwd to eth1\n"
        chains.append(f"chain f{number} {{\n{steps}}}\n")
        elements.append(f"{flow.address} . {flow.port} : jump f{number}")
    return f"table netdev relay {{\n{''.join(chains)}{_ingress(elements)}}}\n"


def dup_ruleset(case: Case, ethernet: str) -> str:
    """Return a script for nft: ingress sends marked copies, and egress has a chain for each mark."""
    copies = [
        f"chain o{mark} {{\n{_readdressed(copy, ethernet)}\n}}\n" for mark, copy in enumerate(case.copies, 1)
    ]
    marks = range(1, len(copies) + 1)
    flows, elements = [], []
    for number, flow in enumerate(case.inputs):
        own = marks[number * case.outputs : (number + 1) * case.outputs]
        steps = "".join(f"meta mark set {mark} dup to eth1\n" for mark in own)
        flows.append(f"chain f{number} {{\n{steps}meta mark set 0\n}}\n")
        elements.append(f"{flow.address} . {flow.port} : jump f{number}")
    egress = (
        "chain egress {\ntype filter hook egress device eth1 priority 0\n"
        f"meta mark vmap {{ {', '.join(f'{mark} : jump o{mark}' for mark in marks)} }}\n}}\n"
    )
    return f"table netdev relay {{\n{''.join(copies + flows)}{_ingress(elements)}{egress}}}\n"


def _ingress(elements: list[str]) -> str:
    """Return the chain that sends the packets of each flow to their chain."""
    return (
        "chain ingress {\ntype filter hook ingress device eth0 priority 0\n"
        f"ip daddr . udp dport vmap {{ {', '.join(elements)} }}\n}}\n"
    )


@contextmanager
def _nftables(testbed: Testbed, script: str) -> Iterator[None]:
    """Have the rules of a script during the block."""
    path = testbed.folder / "relay.nft"
    path.write_text(script)
    testbed.relay.run(["nft", "-f", str(path)])
    try:
        yield
    finally:
        testbed.relay.run(["nft", "flush", "ruleset"])


def _readdressed(to: Endpoint, ethernet: str) -> str:
    """Return the statements that write the addresses of one output into a packet."""
    _, b, c, d = map(int, to.address.split("."))
    group = f"01:00:5e:{b & 127:02x}:{c:02x}:{d:02x}"
    return (
        f"ether saddr set {ethernet} ether daddr set {group} ip saddr set {RELAY_OUT}"
        f" ip daddr set {to.address} udp dport set {to.port}"
    )


def _ethernet_address(testbed: Testbed) -> str:
    shown = testbed.relay.run(["ip", "-json", "link", "show", "dev", "eth1"]).stdout
    return str(json.loads(shown)[0]["address"])


def _only_traffic(case: Case) -> str | None:
    return "compared with few rules" if case.rules > case.flows else None


@contextmanager
def run_relay(testbed: Testbed, relay: Relay, case: Case, *, apart: bool = True) -> Iterator[Sinks]:
    """Run a relay, and enter the block with its sinks once each output has sent a packet of each flow.

    The relay's processes are at rest then: what they still do after their start would count as relaying.
    With `apart`, the relay does not use the generator's processor, which makes results steadier.
    """
    with (
        testbed.apart() if apart else nullcontext(),
        relay.running(testbed, case),
        testbed.sinks(relay.destinations(case)) as sinks,
    ):
        wait_until(lambda: _reached(testbed, sinks, case), f"the first packets from {relay.name}")
        wait_until(lambda: _is_at_rest(testbed), f"{relay.name} at rest")
        yield sinks


def _reached(testbed: Testbed, sinks: Sinks, case: Case) -> bool:
    testbed.transfer(sinks, case, rate=100.0 * case.flows, seconds=0.02)
    return sinks.all_reached()


def _is_at_rest(testbed: Testbed) -> bool:
    """Watch the relay's processes for REST_S, and return whether they used hardly any CPU time."""
    try:
        processes = testbed.relay.processes()
        before = cpu_seconds(processes)
        time.sleep(REST_S)
        return cpu_seconds(processes) - before < MAX_REST_CPU_S
    except FileNotFoundError:  # a process has just ended
        return False


@contextmanager
def _terminate_after(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """Terminate the processes at the end of the block."""
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
