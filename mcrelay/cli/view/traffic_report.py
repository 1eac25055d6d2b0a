"""The report of `mcrelay receive`: as JSON, and as tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from mcrelay.cli.view.table import align
from mcrelay.cli.view.units import format_count
from mcrelay.model.addresses import number_to_address
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.statistics import FlowCounts, FlowId, FlowStatistics, Reception, sum_counts

JSON_VERSION = 1  # version of the shape of --json
MAX_SHOWN_FLOWS = 40  # flows in a table, so that the summary stays on the screen; --json has all flows


@dataclass(frozen=True, slots=True)
class Observation:
    """The counts of `receive`. `drops` are the packets that the kernel dropped at the receiver's sockets."""

    destinations: Sequence[Endpoint]
    reception: Reception
    drops: Mapping[Endpoint, int]
    seconds: float
    ended: str  # "count", "idle", "duration" or "signal"
    count: int | None  # packets demanded in total
    expect: int | None  # different probes demanded at each destination

    @property
    def silent(self) -> list[Endpoint]:
        """The destinations at which nothing arrived."""
        heard = {key.destination for key in self.reception.flows}
        return [destination for destination in self.destinations if str(destination) not in heard]


def build_report(
    observation: Observation, hints: Mapping[Endpoint, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the object that `--json` prints; mcrelay-receive(1) describes its keys.

    `hints` has the likely reason why nothing arrived at a destination.
    """
    total = sum_counts(observation.reception.flows.values())
    destinations = [_build_destination(observation, destination) for destination in observation.destinations]
    problems = [
        problem
        for destination, counts in zip(observation.destinations, destinations, strict=True)
        for problem in _find_problems(counts, observation.expect, hints.get(destination))
    ]
    if total.packets < (observation.count or 0):
        problems.append(f"{total.packets:,} of {observation.count:,} packets arrived")
    return {
        "version": JSON_VERSION,
        "ok": not problems,
        "problems": problems,
        "ended": observation.ended,
        "seconds": round(observation.seconds, 3),
        "total": {
            **_counts_as_json(total),
            "unlisted": observation.reception.unlisted,
            "socket_drops": sum(counts["socket_drops"] for counts in destinations),
            "missing": sum(counts["missing"] for counts in destinations),
        },
        "destinations": destinations,
        "flows": [_build_flow(key, flow) for key, flow in _sort_flows(observation)],
    }


def _sort_flows(observation: Observation) -> list[tuple[FlowId, FlowStatistics]]:
    """Return the flows, sorted by destination in the order of the arguments, then by source."""
    indices = {str(destination): index for index, destination in enumerate(observation.destinations)}
    return sorted(
        observation.reception.flows.items(),
        key=lambda item: (
            indices[item[0].destination],
            item[0].source,
            item[0].source_port,
            item[0].flow or 0,
        ),
    )


def _counts_as_json(found: FlowCounts) -> dict[str, Any]:
    return {
        **asdict(found),
        "packets_per_second": round(found.packets_per_second, 1),
        "mbit_per_second": round(found.megabits_per_second, 3),
    }


def _build_destination(observation: Observation, destination: Endpoint) -> dict[str, Any]:
    name, flows = str(destination), observation.reception.flows
    found = sum_counts(flow for key, flow in flows.items() if key.destination == name)
    return {
        "destination": destination.address,
        "port": destination.port,
        **_counts_as_json(found),
        "socket_drops": observation.drops[destination],
        "missing": max(0, observation.expect - found.received) if observation.expect else 0,
    }


def _build_flow(key: FlowId, flow: FlowStatistics) -> dict[str, Any]:
    address, _, port = key.destination.rpartition(":")
    sequence = flow.sequence
    return {
        "destination": address,
        "port": int(port),
        "source": number_to_address(key.source),
        "source_port": key.source_port,
        "flow": key.flow,
        "first_sequence": sequence.lowest if sequence.received else None,
        "last_sequence": sequence.highest if sequence.received else None,
        **_counts_as_json(sum_counts([flow])),
    }


def _find_problems(counts: Mapping[str, Any], expect: int | None, hint: str | None) -> Iterator[str]:
    """Yield the problems at a destination; `hint` is the likely reason if nothing arrived."""
    name = f"{counts['destination']}:{counts['port']}"
    if counts["lost"]:
        yield f"{name}: {format_count(counts['lost'], 'packet')} lost between the first and the last"
    if counts["corrupt"]:
        yield f"{name}: {format_count(counts['corrupt'], 'packet')} corrupt"
    if counts["missing"] and counts["received"]:
        yield f"{name}: {counts['received']:,} of {expect:,} expected packets arrived"
    if counts["socket_drops"]:
        dropped = format_count(counts["socket_drops"], "packet")
        yield (
            f"{name}: {dropped} reached this host, but were dropped because this receiver was too slow: they"
            " were not lost in the network"
        )
    if not counts["packets"]:
        yield f"{name}: nothing arrived" + (f": {hint}" if hint else "")
    elif not counts["received"] and expect:
        yield f"{name}: nothing arrived from `mcrelay send`"


OUTCOMES = ("lost", "duplicated", "reordered", "corrupt")
QUANTILES = ("min", "p50", "p90", "p99", "p99.9", "max")


def format_report(result: Mapping[str, Any]) -> str:
    """Return a report as text."""
    parts = [_format_traffic(result), _format_latencies(result), _format_sentences(result)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _format_traffic(result: Mapping[str, Any]) -> list[str]:
    """Return the table of the packets of each flow."""
    heads = ["Packets", *map(str.capitalize, OUTCOMES), "TTL", "Packets/s", "Mbit/s"]
    return _format_table("Destination", heads, result["flows"], result["total"], _make_row)


def _format_latencies(result: Mapping[str, Any]) -> list[str]:
    """Return the table of the latencies of each flow."""
    flows = [flow for flow in result["flows"] if flow["latency_us"]]
    return _format_table(
        "Latency in microseconds", list(QUANTILES), flows, result["total"], _make_quantiles_row
    )


def _make_row(found: Mapping[str, Any]) -> list[str]:
    only_foreign = found["foreign"] == found["packets"]
    return [
        f"{found['packets']:,}",
        *("-" if only_foreign else f"{found[key]:,}" for key in OUTCOMES),
        ",".join(map(str, found["ttl"])),
        f"{found['packets_per_second']:,.0f}",
        f"{found['mbit_per_second']:,.1f}",
    ]


def _make_quantiles_row(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['latency_us'][name]:,.0f}" for name in QUANTILES]


def _format_table(
    title: str,
    heads: list[str],
    flows: Sequence[Mapping[str, Any]],
    total: Mapping[str, Any],
    row: Callable[[Mapping[str, Any]], list[str]],
) -> list[str]:
    """Return a table with the cells that `row` returns for each flow, and for the total of several."""
    if not flows:
        return []
    names = _make_names(flows)
    blank = [""] * (len(names[0]) - 1)
    rows = [name + row(flow) for name, flow in zip(names[:MAX_SHOWN_FLOWS], flows, strict=False)]
    if len(flows) > 1:
        rows.append([f"all {len(flows)} flows", *blank, *row(total)])
    return align([[title, *blank, *heads], *rows], "<" * len(names[0]) + ">" * len(heads))


def _make_names(flows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return destination and source of each flow, and its number if these two are not unique."""
    names = [
        (f"{flow['destination']}:{flow['port']}", f"from {flow['source']}:{flow['source_port']}")
        for flow in flows
    ]
    if len(set(names)) == len(names):
        return [list(name) for name in names]
    numbers = ["foreign" if flow["flow"] is None else f"flow {flow['flow']:08x}" for flow in flows]
    return [[*name, number] for name, number in zip(names, numbers, strict=True)]


def _format_sentences(result: Mapping[str, Any]) -> list[str]:
    """Return the summary in sentences, and the problems."""
    total = result["total"]
    lines = [_format_outcome(total, result["seconds"])]
    if total["stale"]:
        stale = format_count(total["stale"], "packet")
        lines.append(f"{stale} arrived too late to know whether they are duplicates.")
    if total["foreign"] and total["received"]:
        foreign = format_count(total["foreign"], "packet")
        lines.append(f"Of these, {foreign} did not come from `mcrelay send`: their loss is unknown.")
    if total["unlisted"]:
        lines.append(f"{total['unlisted']:,} more belong to further flows, which are not counted separately.")
    if total["latency_us"] and total["latency_us"]["min"] < 0:
        lines.append("Latencies below zero mean that the clocks of sender and receiver differ.")
    return lines + [f"PROBLEM  {problem}" for problem in result["problems"]]


def _format_outcome(total: Mapping[str, Any], seconds: float) -> str:
    if not total["packets"]:
        return f"No packet in {seconds:.1f} s."
    arrived = f"{format_count(total['packets'], 'packet')} in {total['seconds']:.1f} s"
    if not total["received"]:
        return f"{arrived}, none of them from `mcrelay send`: loss and latency are unknown."
    found = [f"{total[key]:,} {key}" for key in OUTCOMES if total[key]]
    return f"{arrived}: {', '.join(found) or 'none lost, duplicated, reordered or corrupt'}."
