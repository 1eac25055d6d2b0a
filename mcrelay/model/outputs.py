"""The name of an output, and the header fields that it writes."""

from __future__ import annotations

from typing import Literal

from mcrelay.model.addresses import format_endpoint

Ttl = int | Literal["decrement"]
"""A TTL from 1 to 255, or "decrement": the TTL of the packet minus 1."""

Dscp = int | Literal["copy"]
"""A DSCP from 0 to 63, or "copy": the DSCP of the packet."""


def output_name(interface: str, destination: str, port: int) -> str:
    """Return the name of an output within its rule; it does not depend on TTL, DSCP or source."""
    return f"{interface}:{format_endpoint(destination, port)}"
