"""The routes and the neighbours of this host, as far as the outputs need them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from mcrelay.config.model import Config
from mcrelay.linux.neighbours import NeighbourMonitor, look_up_neighbours
from mcrelay.linux.routes import RouteMonitor, look_up_routes
from mcrelay.model.links import LinkTable
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.routes import HostRoute, NextHop, RouteAnswers, RouteQuery
from mcrelay.reconcile.neighbours import Neighbours
from mcrelay.reconcile.paths import next_hops, route_queries
from mcrelay.supervisor import privileged

log = logging.getLogger("mcrelay")

QUIET_S = 0.02  # from the first change of a route until the kernel is asked, once for several changes
RETRY_DELAY_S = 1.0  # from a question that failed until the next one
REST_FACTOR = 10  # routes that took 0.1 s to ask for are asked for at most once a second


class HostRouting:
    """Asks the kernel for the routes of the outputs, and follows the neighbours that they lead to.

    The caller polls the two monitors, and reports their events.
    """

    def __init__(self) -> None:
        self.route_monitor = RouteMonitor()
        self.neighbour_monitor = NeighbourMonitor()
        self.follows_addresses = False
        """Whether the Ethernet addresses of neighbours are wanted, so that each of their changes matters."""
        self._routes: dict[RouteQuery, HostRoute] = {}
        self._neighbours = Neighbours()
        self._planned = self._answers()
        self._followed: tuple[frozenset[NextHop], frozenset[NextHop]] = (frozenset(), frozenset())
        """The next hops, and the unsettled ones among them, as of the last filter."""
        self._refresh_due: float | None = None
        self._rest_until = 0.0

    def find(self, config: Config, links: LinkTable) -> RouteAnswers:
        """Return the answers for a configuration. The kernel is asked only for routes that are new."""
        missing = route_queries(config, links) - self._routes.keys()
        if missing:
            self._routes = self._routes | self._look_up(missing)
        return self._answers()

    def follow(self, config: Config, links: LinkTable) -> RouteAnswers:
        """Return the answers for the configuration that runs, and follow its routes and neighbours."""
        # Watched first, so that no change between the answer and the watch is missed.
        self.route_monitor.switch(bool(route_queries(config, links)))
        answers = self.find(config, links)
        self._neighbours.keeps_alive = self.follows_addresses
        self._neighbours.set_next_hops(next_hops(config, links, answers))
        self._follow_unsettled()
        self._probe(time.monotonic())
        self._planned = self._answers()
        return self._planned

    # Changes.

    def links_changed(self) -> None:
        """Record that a link or an address has changed; the kernel reports not all routes that go with it."""
        if self._refresh_due is None and self._routes:
            self._refresh_due = max(time.monotonic() + QUIET_S, self._rest_until)

    def routes_changed(self) -> None:
        """Record that a route or a rule has changed."""
        self.route_monitor.drain()
        self.links_changed()

    def neighbours_changed(self) -> None:
        """Record the changes of neighbours."""
        changes = self.neighbour_monitor.read()
        if changes is None:
            self._record_states(self._neighbours.next_hops)
            return
        now = time.monotonic()
        for hop, neighbour in changes:
            self._neighbours.record(hop, neighbour, now)

    def next_deadline(self) -> float | None:
        """Return the time by which `update` must be called, or None if never."""
        times = (self._refresh_due, self._neighbours.next_deadline())
        return min((due for due in times if due is not None), default=None)

    def update(self, config: Config, links: LinkTable) -> bool:
        """Ask the kernel for what is due; return whether the answers for the running config changed."""
        now = time.monotonic()
        if self._refresh_due is not None and self._refresh_due <= now:
            self._refresh_due = None
            routes = self._look_up(route_queries(config, links))
            if routes and routes != self._routes:
                self._routes = routes
            self._rest_until = now + REST_FACTOR * (time.monotonic() - now)
        self._probe(now)
        planned = self._planned
        return (
            self._routes is not planned.routes
            or self._neighbours.silent != planned.silent
            or (self.follows_addresses and self._neighbours.addresses is not planned.addresses)
        )

    # The kernel.

    def _answers(self) -> RouteAnswers:
        return RouteAnswers(self._routes, self._neighbours.silent, self._neighbours.addresses)

    def _look_up(self, queries: Collection[RouteQuery]) -> dict[RouteQuery, HostRoute]:
        """Return the routes, or nothing if the kernel does not answer, which is then asked again later."""
        try:
            return look_up_routes(queries)
        except OSError as error:
            log.warning("cannot ask for routes, trying again: %s", format_os_error(error))
            self._refresh_due = time.monotonic() + RETRY_DELAY_S
            return {}

    def _record_states(self, hops: Collection[NextHop]) -> None:
        try:
            neighbours = look_up_neighbours(hops)
        except OSError as error:
            log.warning("cannot ask for neighbours: %s", format_os_error(error))
            return
        now = time.monotonic()
        for hop, neighbour in neighbours.items():
            self._neighbours.record(hop, neighbour, now)

    def _probe(self, now: float) -> None:
        """Make the kernel ask the neighbours that are due, and follow those that have yet to answer."""
        hops = self._neighbours.due_probes(now)
        self._follow_unsettled()
        try:
            self._neighbours.record_refusals(privileged.probe_neighbours(hops))
        except OSError as error:
            log.warning("cannot ask neighbours for their addresses: %s", format_os_error(error))

    def _follow_unsettled(self) -> None:
        """Receive the changes of the neighbours that are unsettled, and the failures of the others."""
        hops = self._neighbours.next_hops
        unsettled = hops if self.follows_addresses else self._neighbours.unsettled
        self.neighbour_monitor.switch(bool(hops))
        if (hops, unsettled) == self._followed:
            return
        self.neighbour_monitor.follow(hops, unsettled)
        # What happened before the filter was changed is not reported.
        self._record_states(unsettled - self._followed[1])
        self._followed = hops, unsettled
