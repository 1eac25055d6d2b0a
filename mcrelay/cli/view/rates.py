"""The rates between two status documents, for `status --watch`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]  # of the document; schemas/status.schema.json describes it


def add_rates(before: Part, after: Part) -> Part:
    """Replace the rates in `after` by those since `before`, unless the daemon restarted; return `after`."""
    seconds = after["daemon"]["uptime"] - before["daemon"]["uptime"]  # a clock that is never set
    if before["daemon"]["pid"] == after["daemon"]["pid"] and seconds > 0:
        earlier = dict(_counters(before))
        for name, part in _counters(after):
            if name in earlier:
                # A counter starts at 0 again if its rule was removed and added: the rate is then 0, not
                # negative.
                part["packets_per_second"] = max(0, part["packets"] - earlier[name]["packets"]) / seconds
                part["bits_per_second"] = max(0, part["octets"] - earlier[name]["octets"]) * 8 / seconds
    return after


def _counters(document: Part) -> Iterator[tuple[tuple[str, ...], Part]]:
    """Yield each part that has `packets` and `octets`, with a key that is the same in both documents."""
    for rule in document["rules"]:
        yield ("rule", rule["name"]), rule["input"]
        for output in rule["outputs"]:
            destination = (output["interface"], output["destination"], str(output["port"]))
            yield ("output", rule["name"], *destination), output
    for interface in document["interfaces"]:
        yield ("interface", interface["name"]), interface
