"""Explains why `mcrelay receive` hears nothing on a host whose relay sends to the same group."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from typing import Any

from mcrelay.cli import session
from mcrelay.client.connection import UNREACHABLE, RequestFailed
from mcrelay.traffic.endpoint import Endpoint

TIMEOUT_S = 2.0  # for the daemon, which only a hint needs


def explain_silence(silent: Iterable[Endpoint], options: argparse.Namespace) -> dict[Endpoint, str]:
    """Return a hint for each destination to which a daemon of this host sends; no hint without a daemon."""
    try:
        with session.connect_to_daemon(options, TIMEOUT_S) as client:
            status: dict[str, Any] = client.call("status")
    except (*UNREACHABLE, RequestFailed):
        return {}
    if not _is_on_this_host(status["daemon"]["pid"]):
        return {}
    hints = {
        destination: _find_hint(destination, options.interface, status["rules"]) for destination in silent
    }
    return {destination: hint for destination, hint in hints.items() if hint}


def _is_on_this_host(pid: int) -> bool:
    """Return whether a process has the network of this process, as far as the user may know."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return True


def _find_hint(destination: Endpoint, interface: str | None, rules: Iterable[Mapping[str, Any]]) -> str:
    for rule in rules if destination.is_group else ():
        for output in rule["outputs"]:
            device = output["device"]
            if not output["runs"] or Endpoint(output["destination"], output["port"]) != destination:
                continue
            sends = f"rule `{rule['name']}` of the relay on this host sends to it"
            if not output["loopback"]:
                return f"{sends}, but this host does not hear it without `loopback: true` of the output"
            if interface != device:
                return f"{sends} through {device}: give `--interface {device}`"
    return ""
