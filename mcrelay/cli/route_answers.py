"""The routes of the outputs of a configuration, as the kernel of this host answers now."""

from __future__ import annotations

import sys
from collections.abc import Set

from mcrelay.config.model import Config
from mcrelay.linux.neighbours import look_up_neighbours
from mcrelay.linux.routes import look_up_routes
from mcrelay.model.links import LinkTable
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.routes import NeighbourState, NextHop, RouteAnswers
from mcrelay.reconcile.paths import next_hops, route_queries


def read_route_answers(
    config: Config, links: LinkTable, silent_before: Set[str] = frozenset()
) -> RouteAnswers:
    """Return the answers that a plan of `config` needs. If the kernel does not answer, print a warning.

    `silent_before` has the destinations whose next hops a daemon lets the kernel ask again and again: such a
    next hop is silent while it is asked.
    """
    try:
        answers = RouteAnswers(look_up_routes(route_queries(config, links)))
        neighbours = look_up_neighbours(next_hops(config, links, answers))
    except OSError as error:
        print(f"warning: cannot read the routes of this host: {format_os_error(error)}", file=sys.stderr)
        return RouteAnswers()
    asked_again = {
        NextHop(route.ifindex, route.gateway or query.destination)
        for query, route in answers.routes.items()
        if query.destination in silent_before
    }
    silent = (
        hop
        for hop, neighbour in neighbours.items()
        if neighbour.state is NeighbourState.FAILED
        or (neighbour.state is NeighbourState.RESOLVING and hop in asked_again)
    )
    addresses = {
        hop: neighbour.ethernet_address for hop, neighbour in neighbours.items() if neighbour.ethernet_address
    }
    return RouteAnswers(answers.routes, frozenset(silent), addresses)
