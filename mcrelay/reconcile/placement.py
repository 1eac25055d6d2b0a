"""The placement of a rule: the data plane that relays its packets, and the reason for this data plane."""

from __future__ import annotations

from mcrelay.config.model import Rule


def place_rule(rule: Rule) -> tuple[str, str]:
    """Return the data plane of a rule, and the reason for it (an empty text if there is no reason)."""
    assert rule.data_plane != "kernel", "the compiler refuses the kernel until it relays packets"
    return "userspace", ""
