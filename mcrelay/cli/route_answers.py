"""The routes of the outputs of a configuration, as the kernel of this host answers now."""

from __future__ import annotations

import sys

from mcrelay.config.model import Config
from mcrelay.linux.neighbours import look_up_neighbours
from mcrelay.linux.routes import look_up_routes
from mcrelay.model.links import LinkTable
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.routes import NeighbourState, RouteAnswers
from mcrelay.reconcile.paths import next_hops, route_queries


def read_route_answers(config: Config, links: LinkTable) -> RouteAnswers:
    """Return the answers that a plan of `config` needs. If the kernel does not answer, print a warning."""
    try:
        answers = RouteAnswers(look_up_routes(route_queries(config, links)))
        states = look_up_neighbours(next_hops(config, links, answers))
    except OSError as error:
        print(f"warning: cannot read the routes of this host: {format_os_error(error)}", file=sys.stderr)
        return RouteAnswers()
    silent = (hop for hop, state in states.items() if state is NeighbourState.FAILED)
    return RouteAnswers(answers.routes, frozenset(silent))
