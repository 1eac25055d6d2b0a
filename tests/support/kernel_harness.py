"""Fakes of the maps and of the plane of the kernel data plane, which record what is written."""

import errno
import os
from types import SimpleNamespace

PROGRAMS = {"ingress": 61, "ring_filter": 62, "clear": 63}


class FakeMaps:
    """The maps, with each write in its order. `refused` has what fails: a flow, an endpoint or an address."""

    cpus = 2

    def __init__(self):
        self.descriptors = {"flows": 10, "hot-0": 11, "cold-4": 12}
        self.writes = []
        self.refused = {}
        self.has_flows, self.has_own, self.has_addresses, self.has_links = {}, set(), {}, {}
        self.cells = set()

    def _record(self, name, *values):
        if values and values[0] in self.refused:
            raise self.refused[values[0]]
        self.writes.append((name, *values))

    def names(self):
        """Return the names of the writes, and forget them."""
        names = [name for name, *_ in self.writes]
        self.writes.clear()
        return names

    # Flows.

    def flows(self):
        return dict(self.has_flows)

    def set_flow(self, flow, route):
        self._record("set_flow", flow, route)
        self.has_flows[flow] = route

    def set_flows(self, routes):
        for flow, route in routes.items():
            self.set_flow(flow, route)

    def delete_flows(self, flows):
        for flow in flows:
            self._record("delete_flow", flow)
            self.has_flows.pop(flow, None)

    def grace(self):
        self._record("grace")

    def begin_epoch(self):
        self._record("begin_epoch")

    def reclaim(self):
        pass

    def ensure_cells(self, table, row):
        self.cells.add((table.offset, row))

    # The other tables.

    def own(self):
        return set(self.has_own)

    def set_own(self, address, port):
        self._record("set_own", (address, port))
        self.has_own.add((address, port))

    def delete_own(self, address, port):
        self._record("delete_own", (address, port))
        self.has_own.remove((address, port))

    def addresses(self):
        return dict(self.has_addresses)

    def set_address(self, key, row, takes_outgoing):
        self._record("set_address", key, row, takes_outgoing)
        self.has_addresses[key] = row, takes_outgoing

    def delete_address(self, key):
        self._record("delete_address", key)
        del self.has_addresses[key]

    def links(self):
        return dict(self.has_links)

    def set_link(self, ifindex, row):
        self._record("set_link", ifindex, row)
        self.has_links[ifindex] = row

    def delete_link(self, ifindex):
        self._record("delete_link", ifindex)
        del self.has_links[ifindex]


class FakePlane:
    """A plane; `devices` run its program, and `refused` devices cannot."""

    was_adopted = False

    def __init__(self, maps, devices=()):
        self.maps, self.devices = maps, set(devices)
        self.objects = SimpleNamespace(programs=PROGRAMS, maps=maps.descriptors)
        self.hook = SimpleNamespace(detach=self._detach, attached=lambda: set(self.devices))
        self.refused = set()
        self.end = None
        self.error = None

    def attach(self, ifindex):
        if ifindex in self.refused:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if ifindex in self.devices:
            return False
        self.maps.writes.append(("attach", ifindex))
        self.devices.add(ifindex)
        return True

    def _detach(self, ifindex):
        self.maps.writes.append(("detach", ifindex))
        self.devices.remove(ifindex)

    def detach_all_except(self, wanted):
        for ifindex in self.devices - wanted:
            self._detach(ifindex)

    def remove_earlier_versions(self):
        pass

    def close(self):
        self.end = "closed"

    def remove(self):
        if self.error:
            raise self.error
        self.end = "removed"


class FakeSockets:
    """Sockets that send from one port for each egress. `filters` has the program of each link."""

    def __init__(self, maps, first_port=40_000):
        self.maps, self.ports, self.kept, self.filters = maps, {}, {}, {}
        self.has_filtered_rings = False
        self._next_port = first_port

    def endpoint(self, egress):
        if egress not in self.ports:
            self.ports[egress] = self.kept.get(egress) or self._next_port
            self._next_port += 1
        return egress.source, self.ports[egress]

    def endpoints(self):
        return {(egress.source, port) for egress, port in self.ports.items()}

    def keep_port(self, egress, port):
        self.kept[egress] = port

    def filter_rings(self, ifindex, program):
        self.maps.writes.append(("filter_rings", ifindex))
        self.filters[ifindex] = program

    def forget_ring_filters(self):
        self.filters.clear()
