"""The flows in the maps of the kernel data plane, set and deleted in an order in which no packet is lost.

The program looks up a packet's flow without a source first. Where rules list sources, that entry is a *list*:
it sends the program on to the flow of the packet's source. A source without a flow is refused there, or left
to the workers if they relay the same flow of other sources (`is_shared`). A list is written after its first
flow and deleted before its last one, so that a packet finds either all of a rule or nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace

from mcrelay.kernel.layout import KernelRoute
from mcrelay.kernel.maps import KernelMaps
from mcrelay.model.state import Flow


class KernelFlows:
    """Sets and deletes flows, and keeps the lists of sources. An operation raises OSError if bpf(2) fails."""

    def __init__(self, maps: KernelMaps) -> None:
        self._maps = maps
        self._whole: set[Flow] = set()
        """The flows of any source."""
        self._sources: dict[Flow, dict[Flow, KernelRoute]] = {}
        """The flows with a source, each with a list of it alone, by the flow of any source."""
        self._lists: dict[Flow, KernelRoute] = {}

    @property
    def has_sources(self) -> bool:
        """Whether a flow has a source, so that there are lists."""
        return bool(self._sources)

    def adopt(self, present: Mapping[Flow, KernelRoute]) -> None:
        """Begin with what the maps hold."""
        self._whole, self._sources, self._lists = set(), {}, {}
        for flow, route in present.items():
            if route.lists_sources:
                self._lists[flow] = route
            else:
                self._remember(flow, route)

    def set(self, flow: Flow, route: KernelRoute) -> None:
        """Set a flow. One with a source is used after `update_lists` or `delete`."""
        with self._read_again_on_error():
            self._maps.set_flow(flow, route)
        self._remember(flow, route)
        self._lists.pop(flow, None)  # the flow has replaced it

    def update_lists(self, shared: Set[Flow]) -> None:
        """Write the lists of sources; `shared` has the flows of any source that the workers relay, too."""
        with self._read_again_on_error():
            self._write_lists(shared, frozenset())
            self._delete_orphans()

    def delete(self, flows: Collection[Flow], shared: Set[Flow]) -> None:
        """Delete flows, without losing or repeating a packet of those that move to the workers.

        A packet that came in before the workers took over belongs to the kernel, even if it is still on its
        way. `shared` is that of `update_lists`.
        """
        with self._read_again_on_error():
            self._write_lists(shared, frozenset(flows))
            doomed = [flow for flow in flows if flow not in self._lists]  # a list replaces the others
            if doomed:
                self._let_leave(doomed)
            self._delete_orphans()
            if doomed:
                self._maps.delete_flows(doomed)

    def delete_all(self) -> None:
        """Delete all flows."""
        present = self._maps.flows()
        self.adopt(present)
        self.delete([flow for flow, route in present.items() if not route.lists_sources], frozenset())

    def _remember(self, flow: Flow, route: KernelRoute) -> None:
        if flow.source is None:
            self._whole.add(flow)
        else:
            alone = KernelRoute(route.rule_row, route.link_row, lists_sources=True)
            self._sources.setdefault(without_source(flow), {})[flow] = alone

    def _write_lists(self, shared: Set[Flow], leaving: Set[Flow]) -> None:
        """Write the list of each flow that has sources after those `leaving` have gone."""
        for flow, sources in self._sources.items():
            of_first = next((alone for source, alone in sources.items() if source not in leaving), None)
            if of_first is None or (flow in self._whole and flow not in leaving):
                continue
            wanted = replace(of_first, is_shared=flow in shared)
            if self._lists.get(flow) != wanted:
                self._maps.set_flow(flow, wanted)
                self._lists[flow] = wanted
                self._whole.discard(flow)

    def _let_leave(self, doomed: Sequence[Flow]) -> None:
        """Let the workers have the packets of flows from now on, and forget these flows."""
        present = self._maps.flows()
        self._maps.set_flows(
            {flow: replace(present[flow], is_leaving=True) for flow in doomed if flow in present}
        )
        self._maps.grace()
        for flow in doomed:
            self._whole.discard(flow)
            sources = self._sources.get(without_source(flow), {})
            if sources.pop(flow, None) and not sources:
                del self._sources[without_source(flow)]

    def _delete_orphans(self) -> None:
        """Delete the lists without a source."""
        if orphans := [flow for flow in self._lists if flow not in self._sources]:
            self._maps.delete_flows(orphans)
            for flow in orphans:
                del self._lists[flow]

    @contextmanager
    def _read_again_on_error(self) -> Iterator[None]:
        """Read what the maps hold if a step fails, because it may have been done in part."""
        try:
            yield
        except OSError:
            self.adopt(self._maps.flows())
            raise


def without_source(flow: Flow) -> Flow:
    """Return the flow of any source."""
    return Flow(flow.ifindex, flow.destination, flow.port)
