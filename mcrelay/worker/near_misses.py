"""Counts packets that no rule of their link takes, and that were probably meant for a rule (near misses).

This code runs only for batches with such packets. Nearly all of them are to addresses of no rule, which one
array operation finds out. The others have few different destinations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mcrelay.model.near_misses import NearMiss
from mcrelay.model.state import Flow
from mcrelay.packet.keys import ADDRESS_SHIFT, OUTGOING, PORT_MASK, EndpointKeys, endpoint_key, find
from mcrelay.worker.counters import CounterWriter


class NearMisses:
    """Counts the near misses of all links of a worker."""

    def __init__(self, row_of_flow: Mapping[Flow, int], counters: CounterWriter) -> None:
        """`row_of_flow` has the row of the rule of each flow."""
        self._counters = counters
        # The ifindex and the row of each rule that wants an endpoint, and of each rule that wants an address.
        self._by_endpoint: dict[int, set[tuple[int, int]]] = {}
        self._by_address: dict[int, set[tuple[int, int]]] = {}
        for flow, row in row_of_flow.items():
            key = endpoint_key(flow.destination, flow.port)
            self._by_endpoint.setdefault(key, set()).add((flow.ifindex, row))
            self._by_address.setdefault(key >> ADDRESS_SHIFT, set()).add((flow.ifindex, row))
        self._addresses = np.array(sorted(self._by_address), np.uint64)

    def count_unknown(self, ifindex: int, destination: EndpointKeys, time: int) -> None:
        """Count n packets of a link without a rule; `time` is the arrival of the last one."""
        near = self._select(destination)
        if not near.any():
            return
        for key, count in Counter(destination[near].tolist()).items():
            elsewhere = [row for link, row in self._by_endpoint.get(key, ()) if link != ifindex]
            here = [row for link, row in self._by_address[key >> ADDRESS_SHIFT] if link == ifindex]
            for row in elsewhere:
                self._counters.add_near_misses(row, NearMiss.OTHER_DEVICE, count, ifindex, time)
            for row in () if elsewhere else here:
                self._counters.add_near_misses(row, NearMiss.OTHER_PORT, count, key & PORT_MASK, time)

    def count_tagged(
        self, ifindex: int, destination: EndpointKeys, vlan: NDArray[np.uint16], time: int
    ) -> None:
        """Count n packets of a link that belong to a VLAN; `time` is the arrival of the last one."""
        near = self._select(destination)
        addresses = (destination[near] >> np.uint64(ADDRESS_SHIFT)).tolist()
        last_vlan = dict(zip(addresses, vlan[near].tolist(), strict=True))
        for address, count in Counter(addresses).items():
            for link, row in self._by_address[address]:
                if link == ifindex:
                    self._counters.add_near_misses(row, NearMiss.TAGGED, count, last_vlan[address], time)

    def _select(self, destination: EndpointKeys) -> NDArray[np.bool_]:
        """Return a mask of the packets from other hosts to the address of any rule."""
        if not len(self._addresses):
            return np.zeros(len(destination), np.bool_)
        _, found = find(self._addresses, destination >> np.uint64(ADDRESS_SHIFT))
        is_from_others: NDArray[np.bool_] = destination & np.uint64(OUTGOING) == 0
        return found & is_from_others
