"""A host of the lab, which is a network namespace with its own devices, processes and counters."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcrelay.lab.command import LabError
from mcrelay.linux.constants import CLONE_NEWNET
from mcrelay.model.addresses import address_to_bytes, is_group
from mcrelay.model.os_errors import format_os_error

NAMESPACES = Path("/run/netns")  # where `ip netns` keeps the namespaces


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link, which is a device of a host with addresses, or a port of a bridge."""

    host: Host
    device: str
    addresses: tuple[str, ...] = ()
    bridge: str | None = None


class Host:
    """A network namespace. Its processes cannot reach the machine's network."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._started: list[subprocess.Popen[str]] = []

    def build(self) -> None:
        """Create the namespace, and switch its reverse path filter on, as most distributions do."""
        iproute(f"netns add {self.namespace}")
        self.ip("link set lo up")
        self.sysctl("net.ipv4.conf.all.rp_filter", 1)
        self.sysctl("net.ipv6.conf.all.disable_ipv6", 1)  # neighbour discovery would be counted, too
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)

    def end(self, device: str, *addresses: str) -> End:
        """Return an end for `Lab.link`, a device of this host with addresses such as `10.1.0.1/24`."""
        return End(self, device, addresses)

    def ip(self, *commands: str) -> None:
        """Run commands of `ip` on this host, such as `link set eth0 down`. Raises LabError if one fails."""
        with self.enter_namespace():
            iproute(*commands)

    def sysctl(self, name: str, value: int) -> None:
        """Set a network sysctl of this host, such as `net.ipv4.conf.all.rp_filter`.

        Raises LabError if the sysctl cannot be written.
        """
        try:
            with self.enter_namespace():
                Path("/proc/sys", *name.split(".")).write_text(str(value))
        except OSError as error:
            raise LabError(f"cannot set {name}: {format_os_error(error)}") from error

    def run(
        self, command: Sequence[str], check: bool = True, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this host to its end, and capture its output as text."""
        with self.enter_namespace():
            return subprocess.run(
                command,
                check=check,
                text=True,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=seconds,
            )

    def start(
        self,
        command: Sequence[str],
        stdout: IO[str] | int | None = subprocess.PIPE,
        stderr: IO[str] | int | None = subprocess.PIPE,
        environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command on this host. `close` kills its process.

        The command has its own session, so that Ctrl-C at the terminal does not end it.
        """
        with self.enter_namespace():
            process = subprocess.Popen(
                command,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    @contextmanager
    def enter_namespace(self) -> Iterator[None]:
        """Move the calling thread to this host for the block.

        Sockets and processes that are created in the block stay on this host.
        """
        with open("/proc/thread-self/ns/net") as before, open(NAMESPACES / self.namespace) as host:
            _enter(host.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def processes(self) -> list[int]:
        """Return the IDs of all processes on this host, including processes that `start` did not start."""
        return processes_in(self.namespace)

    def is_listening(self, destination: str, port: int) -> bool:
        """Return whether a socket is bound to this address and port and, if it is a group, has joined it."""
        hex_address = f"{int.from_bytes(address_to_bytes(destination), 'little'):08X}"
        with self.enter_namespace():
            is_bound = f" {hex_address}:{port:04X} " in Path("/proc/thread-self/net/udp").read_text()
            has_joined = hex_address in Path("/proc/thread-self/net/igmp").read_text().split()
        return is_bound and (has_joined or not is_group(destination))

    def groups(self, device: str) -> set[str]:
        """Return the IPv4 groups that a device is a member of."""
        answer = json.loads(self.run(["ip", "-json", "maddress", "show", "dev", device]).stdout)
        return {entry["address"] for entry in answer[0]["maddr"] if entry.get("family") == "inet"}

    def packets_received(self, device: str) -> int:
        """Return how many packets a device has received."""
        answer = json.loads(self.run(["ip", "-json", "-stats", "link", "show", "dev", device]).stdout)
        return int(answer[0]["stats64"]["rx"]["packets"])

    def counter(self, name: str) -> int:
        """Return a counter of /proc/net/netstat, such as `IPReversePathFilter`.

        Raises KeyError if there is no such counter.
        """
        with self.enter_namespace():
            lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            counters = dict(zip(names.split(), values.split(), strict=True))
            if name in counters:
                return int(counters[name])
        raise KeyError(name)

    def close(self) -> None:
        """Kill all processes of this host, and remove the namespace with its devices."""
        remove(self.namespace)
        for process in self._started:
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def iproute(*commands: str) -> None:
    """Run commands of `ip` in one process. Raises LabError if one fails."""
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"ip {'; '.join(commands)}: {' '.join(done.stderr.split())}")


def processes_in(namespace: str) -> list[int]:
    """Return the IDs of the processes in a namespace, or an empty list if it does not exist."""
    inode = _inode(NAMESPACES / namespace)
    if inode is None:
        return []
    # Texts, because Path takes four times as long, and a busy machine has many processes.
    processes = filter(str.isdecimal, os.listdir("/proc"))
    return [int(process) for process in processes if _inode(f"/proc/{process}/ns/net") == inode]


def remove(namespace: str) -> None:
    """Kill all processes in a namespace, and delete the namespace.

    A namespace that does not exist is not an error, because two labs may find the same abandoned namespace.
    """
    while processes := processes_in(namespace):
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def _inode(namespace: Path | str) -> int | None:
    """Return the inode that identifies a namespace, or None if it does not exist."""
    try:
        return os.stat(namespace).st_ino
    except OSError:
        return None


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns needs Python 3.12
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise LabError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
