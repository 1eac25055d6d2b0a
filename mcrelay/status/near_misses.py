"""Hints why a rule receives nothing: packets that were probably meant for it came in elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcrelay.model.counters import RULES
from mcrelay.model.near_misses import NearMiss
from mcrelay.protocol.jsonrpc import Json

# A near miss that long after the last relayed packet, in nanoseconds, shows that the rule receives nothing.
SILENCE = 2_000_000_000

_LAST_TIME = RULES.column("last_time")
_COLUMNS = {miss: tuple(map(RULES.column, miss.columns)) for miss in NearMiss}
_FIRST, _LAST = _COLUMNS[NearMiss.TAGGED][0], max(map(max, _COLUMNS.values()))


@dataclass(frozen=True, slots=True)
class Target:
    """What the input of a rule accepts."""

    device: str
    destination: str
    port: int


@dataclass(frozen=True, slots=True)
class Place:
    """An interface and its device."""

    interface: str
    device: str


def near_misses(counts: Sequence[int], places: Mapping[int, Place]) -> dict[str, Json]:
    """Return the near misses of a rule by kind, without the kinds that did not occur.

    `counts` is the row of the rule, and `places` has the interface of each ifindex.
    """
    found: dict[str, Json] = {}
    if any(counts[_FIRST : _LAST + 1]):
        for miss, (time, detail, packets) in _COLUMNS.items():
            if counts[packets]:
                named = _describe_detail(miss, counts[detail], places)
                found[miss] = {"packets": counts[packets], "time": counts[time] / 1e9, **named}
    return found


def _describe_detail(miss: NearMiss, detail: int, places: Mapping[int, Place]) -> dict[str, Json]:
    match miss:
        case NearMiss.TAGGED:
            return {"vlan": detail}
        case NearMiss.OTHER_DEVICE:
            place = places.get(detail)
            return {"device": place and place.device, "interface": place and place.interface}
        case NearMiss.OTHER_PORT:  # pragma: no branch: there is no other
            return {"port": detail}


def hint(target: Target, counts: Sequence[int], places: Mapping[int, Place]) -> str:
    """Return why a rule probably receives nothing, empty if it receives packets or nothing tells why."""
    if not any(counts[_FIRST : _LAST + 1]):
        return ""
    return "; ".join(_hints(target, counts, places))


def _hints(target: Target, counts: Sequence[int], places: Mapping[int, Place]) -> Iterator[str]:
    for miss, (time, detail, packets) in _COLUMNS.items():
        if counts[packets] and counts[time] > counts[_LAST_TIME] + SILENCE:
            yield _describe(miss, target, counts[packets], counts[detail], places)


def _describe(miss: NearMiss, target: Target, count: int, detail: int, places: Mapping[int, Place]) -> str:
    noun = "packet" if count == 1 else "packets"
    match miss:
        case NearMiss.TAGGED:
            frames = "frame" if count == 1 else "frames"
            return (
                f"{count:,} {frames} to {target.destination} had VLAN tag {detail}:"
                f" name the VLAN's device, such as {target.device}.{detail}, in `interfaces`"
            )
        case NearMiss.OTHER_DEVICE:
            place = places.get(detail)
            where = f"{place.device} (interface {place.interface})" if place else "another device"
            return (
                f"nothing on {target.device}, but {count:,} {noun} came in on {where}:"
                " correct `interface` of the input, or the cabling"
            )
        case NearMiss.OTHER_PORT:  # pragma: no branch: there is no other
            return (
                f"{count:,} {noun} came in for other ports of {target.destination}, the last for port"
                f" {detail}: correct `port` of the input, which is {target.port}, if they are meant"
            )
