"""Advice for what is written as the name of a device, and is none."""

from __future__ import annotations

MAX_ADVISED_LENGTH = 127  # bytes of an alternative name (ALTIFNAMSIZ of linux/if.h, without the final zero)


def suggest_device(value: object) -> str:
    """Return the end of a message about a value that is not the name of a device."""
    if isinstance(value, list):
        return "; an interface has one device: write an interface for each"
    if not isinstance(value, str):
        return f'; write it in quotes: `"{value}"`' if type(value) is int else ""
    name = value.strip()
    if len(name.encode()) > MAX_ADVISED_LENGTH:
        return "; a name has at most 15 bytes, an alternative name 127"
    if set(name) & set("*?"):
        return "; patterns are not supported, an interface has one device: write an interface for each"
    if "," in name or len(name.split()) > 1:
        return "; an interface has one device: write an interface for each"
    if "@" in name:
        return _write(name.split("@")[0], "what `ip link` prints after `@` is the peer or the lower device")
    if ":" in name:
        return _write(name.split(":")[0], "what follows `:` is the label of an address; see `source`")
    if "/" in name:
        return _write(name.rstrip("/").split("/")[-1], "a device has no path")
    return _write(name, "without spaces") if name.strip(".") else ""


def _write(name: str, why: str) -> str:
    return f"; write `{name}`: {why}" if name else ""
