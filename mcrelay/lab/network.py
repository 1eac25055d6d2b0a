"""The lab, with its hosts, and with the links and switches between the hosts."""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import signal
import socket
import struct
import time
from functools import partial
from pathlib import Path
from types import TracebackType

from mcrelay.lab.bpf_file_system import own_bpf_file_system
from mcrelay.lab.command import wait_until
from mcrelay.lab.host import NAMESPACES, End, Host, iproute, remove
from mcrelay.lab.offload import switch_offload
from mcrelay.linux.constants import IFF_RUNNING, SIOCGIFFLAGS

PREFIX = "mcrelay"


class Lab:
    """Builds hosts, and removes them with their processes and links when the `with` block ends."""

    def __init__(self) -> None:
        self._prefix = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self._hosts: list[Host] = []
        self._bpf_file_system = own_bpf_file_system()
        # The kernel reports a carrier at once only if the two ends of a link have different indexes
        # (linkwatch_urgent_event); otherwise it may take a second.
        self._indexes = itertools.count(100)

    def __enter__(self) -> Lab:
        remove_abandoned()
        self._bpf_file_system.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C has to wait for the few milliseconds that the removal takes.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        for host in self._hosts:
            host.close()
        self._bpf_file_system.__exit__(None, None, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def host(self, name: str) -> Host:
        """Add a host, and return it."""
        host = Host(f"{self._prefix}-{name}")
        self._hosts.append(host)  # before `build`, so that a host is removed even if it is half built
        host.build()
        return host

    def switch(self, name: str, address: str) -> Switch:
        """Add an Ethernet switch that snoops IGMP and sends queries from `address`, and return it."""
        return Switch(self.host(name), address)

    def link(self, end: End, peer: End, mtu: int = 1500) -> None:
        """Connect two ends by a veth pair."""
        first, second = next(self._indexes), next(self._indexes)
        iproute(
            f"link add {end.device} index {first} mtu {mtu} netns {end.host.namespace} type veth"
            f" peer name {peer.device} index {second} mtu {mtu} netns {peer.host.namespace}"
        )
        ends = (end, peer)
        for link_end in ends:
            _connect(link_end)
        for link_end in ends:
            wait_until(partial(_is_running, link_end), f"the carrier of {link_end.device}")
        # A real link has no packet larger than its MTU. A veth passes a large packet of many segments uncut
        # to its peer, where a packet ring would receive it.
        for link_end in ends:
            with link_end.host.enter_namespace():
                switch_offload(link_end.device, "tx-udp-segmentation", on=False)


class Switch:
    """A bridge that forwards multicast only to ports where a membership was reported.

    The bridge of the kernel floods until it knows a querier. It becomes a querier when it has an address and
    one response interval has passed, so the interval is shortened before the querier is switched on.
    """

    _RESPONSE_INTERVAL_S = 0.1

    def __init__(self, host: Host, address: str) -> None:
        self.host = host
        self._ports = 0
        centiseconds = int(self._RESPONSE_INTERVAL_S * 100)
        host.ip(
            "link add switch type bridge mcast_snooping 1",
            f"address add {address} dev switch",
            f"link set switch type bridge mcast_query_response_interval {centiseconds}",
            "link set switch up type bridge mcast_querier 1",
        )
        self._ready = time.monotonic() + 2 * self._RESPONSE_INTERVAL_S

    def port(self) -> End:
        """Return the next free port as an end for `Lab.link`."""
        self._ports += 1
        return End(self.host, f"port{self._ports}", bridge="switch")

    def wait(self) -> None:
        """Wait until the switch snoops."""
        time.sleep(max(0.0, self._ready - time.monotonic()))


def remove_abandoned() -> None:
    """Remove all labs whose processes were killed before they could remove them."""
    for namespace in sorted(entry.name for entry in NAMESPACES.glob(f"{PREFIX}-*-*-*")):
        owner = namespace.split("-")[1]
        if not Path("/proc", owner).exists():
            remove(namespace)


def _connect(end: End) -> None:
    commands = [f"address add {address} dev {end.device}" for address in end.addresses]
    if end.bridge is not None:
        commands.append(f"link set {end.device} master {end.bridge}")
        commands.append(f"link set {end.device} type bridge_slave mcast_flood off")
    end.host.ip(*commands, f"link set {end.device} up")


def _is_running(end: End) -> bool:
    """Return whether the kernel has detected the carrier. Until then, the device drops all packets."""
    request = struct.pack("16sH14x", end.device.encode(), 0)  # struct ifreq
    with end.host.enter_namespace(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        flags: int = struct.unpack("16xH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[0]
    return bool(flags & IFF_RUNNING)
