"""CPU time, wake-ups and memory of processes, read from /proc."""

from __future__ import annotations

import gzip
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")
NANOSECONDS = 1e-9
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
IRQ, SOFTIRQ = 5, 6  # columns of /proc/stat, see proc(5)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process in bytes, without its packet rings, and the size of each ring that it maps."""

    resident: int
    proportional: int
    rings: dict[str, int]


def cpu_seconds(processes: Iterable[int]) -> float:
    """Return the CPU time of processes with all their threads, in nanosecond resolution."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) * NANOSECONDS
        for process in processes
        for task in Path(PROC, str(process), "task").iterdir()
    )


def forwarders(processes: Iterable[int]) -> list[int]:
    """Return the processes that handle packets: the workers of mcrelay, all processes of other relays."""
    found = list(processes)
    return [one for one in found if b"mcrelay.worker" in Path(f"/proc/{one}/cmdline").read_bytes()] or found


def interrupt_threads() -> list[int]:
    """Return the kernel threads that process interrupts when there are many."""
    return [int(file.parent.name) for file in PROC.glob("[0-9]*/comm") if _is_interrupt_thread(file)]


def interrupt_seconds() -> float:
    """Return the CPU time of interrupts that no process is charged for.

    Usually the interrupted process is charged. With CONFIG_IRQ_TIME_ACCOUNTING, no process is.
    """
    if not _accounts_interrupts_apart():
        return 0.0
    columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return (int(columns[IRQ]) + int(columns[SOFTIRQ])) / TICKS_PER_SECOND


def sleeps(processes: Iterable[int]) -> int:
    """Return how often threads of these processes went to sleep, which is how often they woke up."""
    return sum(
        int(_fields(task / "status")["voluntary_ctxt_switches"])
        for process in processes
        for task in Path(PROC, str(process), "task").iterdir()
    )


def memory(process: int) -> Memory:
    """Return the memory of a process without its packet rings, which are mapped sockets."""
    resident = proportional = 0
    rings: dict[str, int] = {}
    ring = ""
    for line in Path(PROC, str(process), "smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name:  # 7f5e...-7f5e... rw-s 00000000 00:08 2212   socket:[2212]
            ring = line[line.index("socket:[") :] if "socket:[" in line else ""
        elif name == "Size" and ring:
            rings[ring] = int(value.split()[0]) << 10
        elif name == "Rss" and not ring:
            resident += int(value.split()[0]) << 10
        elif name == "Pss" and not ring:
            proportional += int(value.split()[0]) << 10
    return Memory(resident, proportional, rings)


def bpf_memory(processes: Iterable[int]) -> int:
    """Return the bytes that the kernel charges for the BPF maps and programs that processes have open."""
    found: dict[tuple[str, str], int] = {}
    for process in processes:
        for file in Path(PROC, str(process), "fdinfo").iterdir():
            fields = _fields(file)
            for kind in ("map_id", "prog_id"):
                if kind in fields and "memlock" in fields:
                    found[kind, fields[kind]] = int(fields["memlock"])
    return sum(found.values())


def role(process: int) -> str:
    """Return the role of a process of mcrelay: `supervisor`, `worker` or `control`."""
    command = Path(PROC, str(process), "cmdline").read_text().split("\0")
    modules = [word.removeprefix("mcrelay.") for word in command if word.startswith("mcrelay.")]
    return modules[0] if modules else "supervisor"


def _fields(file: Path) -> dict[str, str]:
    """Return the fields of a file with a line `name: value` for each."""
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def _is_interrupt_thread(file: Path) -> bool:
    try:
        return file.read_text().startswith("ksoftirqd/")
    except OSError:  # the process ended
        return False


@cache
def _accounts_interrupts_apart() -> bool:
    """Return whether the kernel's configuration, in /boot or in memory, has IRQ_TIME_ACCOUNTING."""
    beside = Path("/boot", f"config-{platform.release()}")
    if beside.exists():
        config = beside.read_bytes()
    else:
        in_memory = Path("/proc/config.gz")
        config = gzip.decompress(in_memory.read_bytes()) if in_memory.exists() else b""
    return b"CONFIG_IRQ_TIME_ACCOUNTING=y" in config
