"""The properties of the machine that the figures depend on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np

QUIET = 1.5  # load average above which other processes disturb the figures


def facts() -> dict[str, str | int | float]:
    """Return processors, kernel and versions, and nothing that identifies the machine."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "model": _model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_average": load_average(),
        **{name: _version(*command) for name, command in _PEERS.items()},
    }


def missing() -> list[str]:
    """Return the programs and libraries that the benchmark needs and this machine lacks."""
    programs = [package for package, (program, _) in _PEERS.items() if shutil.which(program) is None]
    return programs + ([] if find_spec("matplotlib") else ["matplotlib"])


def load_average() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


_PEERS = {
    "socat": ("socat", "-V"),
    "smcroute": ("smcrouted", "-v"),
    "nftables": ("nft", "--version"),
}


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(*command: str) -> str:
    """Return the first version number that a program prints."""
    out = subprocess.run(command, text=True, capture_output=True, check=False)
    words = (out.stdout + out.stderr).replace("v", " ").split()
    return next((word.strip(",") for word in words if word[0].isdigit() and "." in word), "unknown")
