"""The rates between two status documents, for `status --watch`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]  # a part of the status document, which schemas/status.schema.json describes


def add_rates(before: Part, after: Part) -> Part:
    """Set the rates in `after` to the rates since `before`, unless the daemon restarted. Return `after`."""
    seconds = after["daemon"]["uptime"] - before["daemon"]["uptime"]  # from a clock that is never set
    if before["daemon"]["pid"] == after["daemon"]["pid"] and seconds > 0:
        earlier = dict(_find_counters(before))
        for name, part in _find_counters(after):
            if name in earlier:
                # If a rule was removed and added, its counters start at 0 again. The rate is then 0.
                part["packets_per_second"] = max(0, part["packets"] - earlier[name]["packets"]) / seconds
                part["bits_per_second"] = max(0, part["octets"] - earlier[name]["octets"]) * 8 / seconds
    return after


def _find_counters(document: Part) -> Iterator[tuple[tuple[str, ...], Part]]:
    """Yield each part that has `packets` and `octets`, with a key that is the same in both documents."""
    for rule in document["rules"]:
        yield ("rule", rule["name"]), rule["input"]
        for output in rule["outputs"]:
            destination = (output["interface"], output["destination"], str(output["port"]))
            yield ("output", rule["name"], *destination), output
    for interface in document["interfaces"]:
        yield ("interface", interface["name"]), interface
