"""`mcrelay plan`: what a start with a configuration would do on this host, without doing it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from mcrelay.cli.check import Verdict
from mcrelay.cli.exits import Exit
from mcrelay.config import Config, Output
from mcrelay.plan import Plan, plan
from mcrelay.problem import Invalid
from mcrelay.state import Route
from mcrelay.supervisor import files
from mcrelay.supervisor.netlink import read_links

SHAPE = 1  # version of the shape of --json

JSON_HELP = """\
With --json, one object: version (of this shape, 1), file, workers, rules: a list of {name, state, reason,
input: {interface, device, destination, port, sources}, outputs: a list of {interface, device, destination,
port, source, source_port, ttl, dscp, runs}}, and opens: how many rings, sockets, memberships and held ports a
start would open. A source or source_port of null is chosen at the start.

Exit codes: 0 planned, 78 the configuration is invalid."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Show what a start with this configuration would do on this host. Needs no privilege."
    )
    parser.epilog = JSON_HELP
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "file", nargs="?", metavar="FILE", help=f"default {files.DEFAULT}; - is standard input"
    )
    either.add_argument("-c", "--config", metavar="FILE", help="the same")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Plan the file against the links of this host."""
    file = options.file or options.config or str(files.DEFAULT)
    try:
        contents = files.read_standard_input() if file == "-" else files.read(file)
        config = files.config_of(contents)
    except Invalid as invalid:
        print(Verdict(file, invalid.problems).as_text(colour=False), file=sys.stderr)
        return Exit.INVALID
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    links = read_links()
    planned = plan(config, links, os.cpu_count() or 1)
    if options.json:
        print(json.dumps({"file": file, **as_json(config, planned)}, indent=2))
    else:
        print("\n".join(as_text(file, config, planned)))
    return Exit.OK


def as_json(config: Config, planned: Plan) -> dict[str, Any]:
    """Return the documented shape, but for the file's name."""
    routes = _routes(planned)
    return {
        "version": SHAPE,
        "workers": len(planned.state.workers),
        "rules": [
            {
                "name": rule.name,
                "state": str(planned.rules[rule.name].state),
                "reason": planned.rules[rule.name].reason,
                "input": {
                    "interface": rule.input.interface,
                    "device": config.interfaces[rule.input.interface].device,
                    "destination": rule.input.destination,
                    "port": rule.input.port,
                    "sources": list(rule.input.sources),
                },
                "outputs": [_output(output, config, routes.get(rule.name)) for output in rule.outputs],
            }
            for rule in config.rules.values()
        ],
        "opens": _opens(planned),
    }


def as_text(file: str, config: Config, planned: Plan) -> Iterator[str]:
    """Return the plan as lines: every rule with its way in and its ways out, and what it takes."""
    data = as_json(config, planned)
    running = sum(rule["state"] == "active" for rule in data["rules"])
    yield f"{file}: a start would run {running} of {_counted(len(data['rules']), 'rule')}"
    for rule in data["rules"]:
        yield ""
        yield f"{rule['name']}: {rule['state']}" + (f" ({rule['reason']})" if rule["reason"] else "")
        taken = rule["input"]
        sources = f" from {', '.join(taken['sources'])}" if taken["sources"] else ""
        yield f"  in   {_place(taken)}{sources}"
        for output in rule["outputs"]:
            yield f"  out  {_place(output)}{_header(output)}"
    opens = [_counted(count, noun.removesuffix("s")) for noun, count in data["opens"].items()]
    yield ""
    yield f"It would start {_counted(data['workers'], 'worker')} and open {', '.join(opens)}."


def _output(output: Output, config: Config, route: Route | None) -> dict[str, Any]:
    runs = next(
        (
            one
            for one in (route.outputs if route else ())
            if (one.interface, one.destination, one.port)
            == (output.interface, output.destination, output.port)
        ),
        None,
    )
    return {
        "interface": output.interface,
        "device": config.interfaces[output.interface].device,
        "destination": output.destination,
        "port": output.port,
        "source": runs.egress.source if runs else output.source,
        "source_port": output.source_port or None,
        "ttl": output.ttl,
        "dscp": output.dscp,
        "runs": runs is not None,
    }


def _routes(planned: Plan) -> dict[str, Route]:
    flows = next((state.flows for state in planned.state.workers.values()), {})
    return {route.rule: route for route in flows.values()}


def _opens(planned: Plan) -> dict[str, int]:
    workers = planned.state.workers.values()
    return {
        "rings": sum(len(worker.ingress) for worker in workers),
        "sockets": len({egress for worker in workers for egress in worker.egress}),
        "memberships": len(planned.state.memberships),
        "held ports": len(planned.state.holds),
    }


def _place(end: dict[str, Any]) -> str:
    return f"{end['interface']} ({end['device']})  {end['destination']}:{end['port']}"


def _header(output: dict[str, Any]) -> str:
    source = output["source"] or "the device's address"
    port = f":{output['source_port']}" if output["source_port"] else ""
    idle = "" if output["runs"] else "  (does not run)"
    return f"  from {source}{port}, TTL {output['ttl']}, DSCP {output['dscp']}{idle}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
