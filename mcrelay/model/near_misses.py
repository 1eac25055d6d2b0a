"""Near misses: packets that no rule takes, and that were probably meant for a rule.

They are counted as `no_rule` for their device, and besides for the rule, so that `status` can tell why the
rule receives nothing.
"""

from __future__ import annotations

from enum import StrEnum


class NearMiss(StrEnum):
    """A kind of near misses. Each has three columns in the counters of a rule."""

    TAGGED = "tagged"
    """To the rule's address on its device, with a VLAN tag; the detail is the number of the VLAN."""
    OTHER_DEVICE = "other_device"
    """To the rule's address and port on another device; the detail is the ifindex of this device."""
    OTHER_PORT = "other_port"
    """To the rule's address on its device, and to a port of no rule; the detail is the port."""

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns of the arrival of the last packet, of its detail, and of the number of packets.

        The arrival is in nanoseconds of CLOCK_REALTIME.
        """
        return f"{self}_time", f"{self}_detail", f"{self}_packets"


NEAR_MISS_COLUMNS = tuple(column for miss in NearMiss for column in miss.columns)
