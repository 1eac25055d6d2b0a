"""The rates between two status documents, in place of those that the daemon measured by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]  # of the document; schemas/status.schema.json describes it


def add_rates(before: Part, after: Part) -> Part:
    """Put the rates since `before` into `after`, and return it; of another daemon, nothing is known."""
    seconds = after["daemon"]["uptime"] - before["daemon"]["uptime"]  # nobody sets that clock
    if before["daemon"]["pid"] == after["daemon"]["pid"] and seconds > 0:
        earlier = dict(_counters(before))
        for name, part in _counters(after):
            if name in earlier:
                # What was counted anew, under a name that was taken away and given back, has not grown.
                part["packets_per_second"] = max(0, part["packets"] - earlier[name]["packets"]) / seconds
                part["bits_per_second"] = max(0, part["octets"] - earlier[name]["octets"]) * 8 / seconds
    return after


def _counters(document: Part) -> Iterator[tuple[tuple[str, ...], Part]]:
    """Yield everything with packets and octets under a name that stays the same."""
    for rule in document["rules"]:
        yield ("rule", rule["name"]), rule["input"]
        for output in rule["outputs"]:
            destination = (output["interface"], output["destination"], str(output["port"]))
            yield ("output", rule["name"], *destination), output
    for interface in document["interfaces"]:
        yield ("interface", interface["name"]), interface
