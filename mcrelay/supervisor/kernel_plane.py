"""The kernel data plane of this daemon: it carries out actions as a worker does, in the kernel's maps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mcrelay.config.model import AUTO_DATA_PLANE, Config
from mcrelay.kernel import counters
from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.layout import KernelOutput, KernelRoute
from mcrelay.kernel.maps import KernelMaps
from mcrelay.kernel.opening import open_relay
from mcrelay.kernel.plane import KernelPlane
from mcrelay.kernel.unavailable import KernelPlaneUnavailable, explain
from mcrelay.linux.netlink import device_of
from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow, WorkerAction
from mcrelay.model.counters import Table
from mcrelay.model.os_errors import format_os_error
from mcrelay.model.state import KERNEL, Attachment, Flow, Route, RouteOutput, WorkerState
from mcrelay.protocol.control import KernelCounters
from mcrelay.reconcile.commands import SendBatch
from mcrelay.reconcile.placement import KernelSupport, kernel_state, may_use_kernel
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.supervisor.counter_rows import CounterRows, RowsExhausted
from mcrelay.supervisor.kernel_flows import KernelFlows, without_source
from mcrelay.supervisor.kernel_life import Attachments, devices_of, find_directory, remove_left_over
from mcrelay.supervisor.kernel_tables import KernelTables, ensure_counters, wanted_tables
from mcrelay.supervisor.log_summary import log_lines
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError

log = logging.getLogger("mcrelay")

IS_DEFAULT = AUTO_DATA_PLANE == "kernel"  # whether `data_plane: auto` takes the kernel
NOT_NEEDED = "no rule needs it"
UNKNOWN_ROUTE = Route("", ())
"""Stands for a route of an earlier daemon that differs from the one that is wanted."""


@dataclass(slots=True)
class _Opened:
    plane: KernelPlane
    maps: KernelMaps
    flows: KernelFlows
    tables: KernelTables
    attachments: Attachments


class KernelDataPlane:
    """Opens the kernel data plane while a rule may need it, and passes its answers to the reconciler."""

    def __init__(
        self, run_dir: Path, reconciler: Reconciler, sockets: Sockets, counter_rows: CounterRows
    ) -> None:
        self._run_dir = run_dir
        self._reconciler = reconciler
        self._sockets = sockets
        self._counter_rows = counter_rows
        self._opened: _Opened | None = None
        self._openings = 0
        self._missing = NOT_NEEDED
        self._refused: dict[str, str] = {}
        self.has_changed = False
        """Whether the kernel has refused a rule, so that a new plan is due."""

    @property
    def support(self) -> KernelSupport:
        """Why the kernel data plane cannot be used: at all, and for single rules."""
        missing = "" if self._opened else self._missing
        return KernelSupport(missing, dict(self._refused), IS_DEFAULT)

    @property
    def obstacle(self) -> str | None:
        """Why the kernel relays no rule; empty if it can, None if no rule may need it."""
        missing = self.support.missing
        return None if missing == NOT_NEEDED else missing

    def prepare(self, config: Config) -> None:
        """Open the data plane if a rule of the configuration may need it."""
        self._refused = {}
        if self._opened is None:
            self._missing = NOT_NEEDED
            if _may_need_kernel(config):
                self._open()
            if self._opened is None:
                remove_left_over(self._run_dir)

    def clean_up(self, config: Config) -> None:
        """Delete from the maps what is no longer needed, or remove them if no rule may need them.

        Rings keep the filter that they once got, and so its maps.
        """
        if self._opened is None:
            return
        is_in_use = KERNEL in self._reconciler.running.workers or self._sockets.has_filtered_rings
        if is_in_use or _may_need_kernel(config):
            self._try(lambda opened: opened.tables.reduce(opened.maps, self._wanted_tables()))
            self._try(self._update_lists)
        else:
            self.remove()

    def start(self) -> None:
        """Report to the reconciler what the kernel forwards already: for an earlier daemon, or nothing."""
        now = time.monotonic()
        if self._opened is None:
            self._reconciler.worker_exited(KERNEL, now, self._missing)
            return
        adopted = self._adopt(self._opened)
        running, wanted = devices_of(adopted), devices_of(self._reconciler.desired.kernel)
        self._try(self._update_lists)
        self._try(lambda opened: opened.attachments.begin(running, wanted))
        self._try(self._begin_epoch)
        self._reconciler.worker_started(KERNEL, now, adopted)

    def stop(self) -> None:
        """Forward nothing: delete all flows, and let no device run the program."""
        self._try(_stop_forwarding)
        self._try(self._leave_addresses)
        self._reconciler.worker_exited(KERNEL, time.monotonic())

    def close(self) -> None:
        """Let the kernel go on without this process."""
        if self._opened is not None:
            self._opened.plane.close()
            self._opened = None

    def remove(self) -> None:
        """Remove all that is attached and pinned."""
        if self._opened is not None:
            try:
                self._opened.plane.remove()
            except OSError as error:
                log.warning("cannot remove the kernel data plane: %s", explain(error))
            self._opened, self._missing = None, NOT_NEEDED
            self._sockets.forget_ring_filters()

    def send(self, batch: SendBatch) -> None:
        """Carry out a batch, and report the answer to the reconciler."""
        assert self._opened is not None
        now = time.monotonic()
        try:
            self._prepare_tables(self._opened)
            failed = self._carry_out_all(self._opened, batch)
        except (OSError, RowsExhausted) as error:
            failed = dict.fromkeys(range(len(batch.actions)), _reason(error))
            for action in batch.actions:
                self._refuse(action, _reason(error))
        if failed:
            log_lines(logging.WARNING, failed.values(), "kernel data plane: ")
            self._reconciler.batch_refused(KERNEL, batch.number, failed, now)
        else:
            self._try(lambda opened: opened.attachments.finish())
            self._reconciler.batch_acknowledged(KERNEL, batch.number)

    def update_tables(self) -> None:
        """Write what a new plan needs beside the flows, and attach the program where it has been lost."""
        running = self._reconciler.running.workers.get(KERNEL)
        if running is not None:
            self._try(lambda opened: opened.attachments.renew(devices_of(running)))
            self._try(self._begin_epoch)
            self._try(self._update_lists)
        # Filters of rings use the same maps.
        if self._sockets.has_filtered_rings:
            self._try(lambda opened: opened.tables.extend(opened.maps, self._wanted_tables()))

    def clear_rows(self, rows: Iterable[tuple[Table, int]]) -> None:
        """Set the counts of rows to zero, for their next owners."""

        def clear(opened: _Opened) -> None:
            program = opened.plane.objects.programs["clear"]
            for table, row in rows:
                counters.clear(program, table, row, opened.maps.cpus)

        self._try(clear)

    def counter_segments(self) -> Mapping[KernelCounters, int]:
        """Return the descriptors of the memory with the counters, which any process may map for reading."""
        maps = self._opened.maps.descriptors if self._opened else {}
        return {
            KernelCounters(self._openings, name): maps[name]
            for name in maps
            if name.startswith(("hot-", "cold-"))
        }

    def read_counters(self) -> CounterReader | None:
        """Return a reader of the counters that there are now, None if the data plane is not open."""
        if self._opened is None:
            return None
        reader = CounterReader(self._opened.maps.cpus)

        def add_all(opened: _Opened) -> None:
            for name, descriptor in opened.maps.descriptors.items():
                reader.add(name, descriptor)

        self._try(add_all)
        return reader

    # Steps.

    def _try(self, change: Callable[[_Opened], None]) -> None:
        """Change the tables, which a later batch changes again if that fails."""
        if self._opened is not None:
            try:
                change(self._opened)
            except (OSError, RowsExhausted) as error:
                log.warning("kernel data plane: %s", _reason(error))

    def _open(self) -> None:
        try:
            plane, maps = open_relay(find_directory(self._run_dir))
        except KernelPlaneUnavailable as unavailable:
            self._missing = str(unavailable)
            return
        except OSError as error:
            self._missing = explain(error)
            return
        self._opened = _Opened(plane, maps, KernelFlows(maps), KernelTables.read(maps), Attachments(plane))
        self._openings += 1

    def _adopt(self, opened: _Opened) -> WorkerState:
        """Return what the maps hold: the wanted route of a flow if they have it, else UNKNOWN_ROUTE."""
        wanted = self._reconciler.desired.kernel.flows
        flows = {}
        for ifindex, row in opened.tables.links.items():
            self._counter_rows.adopt_link(ifindex, row)
        present = opened.maps.flows()
        opened.flows.adopt(present)
        for flow, found in present.items():
            if flow in wanted and not found.lists_sources:
                self._adopt_rows_and_ports(wanted[flow], found)
        if (reader := self.read_counters()) is not None:  # pragma: no branch: it is open
            taken = self._counter_rows.taken()
            self.clear_rows(row for row in reader.rows_in_use() if row not in taken)
        # A comparison gives rows to new outputs, which must be free and cleared by then.
        for flow, found in present.items():
            if not found.lists_sources:
                route = wanted.get(flow)
                is_as_wanted = route is not None and self._is_translated(flow, route, found)
                flows[flow] = route if route is not None and is_as_wanted else UNKNOWN_ROUTE
        return kernel_state(flows)

    def _adopt_rows_and_ports(self, route: Route, found: KernelRoute) -> None:
        """Let a rule and its outputs count where an earlier daemon did, and send from the same ports."""
        before = {(one.ifindex, one.destination, one.port): one for one in found.outputs}
        rows = []
        for output in route.outputs:
            earlier = before.get((output.egress.ifindex, output.destination, output.port))
            if earlier is not None:
                rows.append((output, earlier.row))
                if output.egress.source == earlier.source:
                    self._sockets.keep_port(output.egress, earlier.source_port)
        self._counter_rows.adopt(route.rule, found.rule_row, rows)

    def _is_translated(self, flow: Flow, route: Route, found: KernelRoute) -> bool:
        try:
            return self._translate(flow, route) == found
        except (RowsExhausted, SupplyError):
            return False  # as the batch that sets the flow tells

    def _prepare_tables(self, opened: _Opened) -> None:
        for ifindex in {flow.ifindex for flow in self._reconciler.desired.kernel.flows}:
            self._sockets.filter_rings(ifindex, opened.plane.objects.programs["ring_filter"])
        self._open_sockets()
        opened.tables.extend(opened.maps, self._wanted_tables())

    def _open_sockets(self) -> None:
        """Open the sockets of the outputs, so that their endpoints are the relay's own before it sends.

        A socket that cannot be opened is a failure of the flows that need it.
        """
        routes = self._reconciler.desired.kernel.flows.values()
        for egress in {output.egress for route in routes for output in route.outputs}:
            with suppress(SupplyError):
                self._sockets.endpoint(egress)

    def _wanted_tables(self) -> KernelTables:
        return wanted_tables(self._reconciler.desired, self._counter_rows, self._sockets.endpoints())

    def _carry_out_all(self, opened: _Opened, batch: SendBatch) -> dict[int, str]:
        """Carry out the actions of a batch; return the reason of each failure by the index of the action."""
        failed: dict[int, str] = {}
        *first, closing = opened.attachments.in_phases(batch.actions)
        for phase in first:
            failed |= self._carry_out_phase(opened, phase)
            self._begin_epoch(opened)
        deleted = [action.flow for action in batch.actions if isinstance(action, DeleteFlow)]
        opened.flows.delete(deleted, self._shared(opened))
        # A device runs the program as long as packets may belong to the kernel.
        failed |= self._carry_out_phase(opened, closing)
        opened.maps.reclaim()
        if deleted:
            self._leave_addresses(opened)
        return failed

    def _carry_out_phase(self, opened: _Opened, phase: Iterable[tuple[int, WorkerAction]]) -> dict[int, str]:
        failed: dict[int, str] = {}
        for index, action in phase:
            try:
                self._carry_out(opened, action)
            except SupplyError as error:
                failed[index] = str(error)  # in the workers, it would not be otherwise
            except (OSError, RowsExhausted) as error:
                failed[index] = _describe_failure(action, error)
                self._refuse(action, failed[index])
        return failed

    def _begin_epoch(self, opened: _Opened) -> None:
        """Let what the filter of rings has decided no longer count if a device has just got the program."""
        if opened.attachments.take_attached() and self._sockets.has_filtered_rings:
            opened.maps.begin_epoch()

    def _update_lists(self, opened: _Opened) -> None:
        opened.flows.update_lists(self._shared(opened))

    def _shared(self, opened: _Opened) -> Set[Flow]:
        """Return the flows of any source that the workers relay, or will, of some source."""
        if not opened.flows.has_sources:
            return frozenset()
        running = self._reconciler.running.workers.items()
        of_workers = [state for worker, state in running if worker != KERNEL]
        states = (self._reconciler.desired.forwarding, *of_workers)
        return {without_source(flow) for state in states for flow in state.flows}

    def _leave_addresses(self, opened: _Opened) -> None:
        """Let the workers also count, and trace, the damaged packets to the addresses that they relay now."""
        opened.tables.reduce(opened.maps, self._wanted_tables())

    def _carry_out(self, opened: _Opened, action: WorkerAction) -> None:
        match action:
            case Open(_, Attachment(ifindex)):
                opened.attachments.attach(ifindex)
            case Close(_, Attachment(ifindex)):
                opened.plane.hook.detach(ifindex)
            case SetFlow(_, flow, route):
                self._set_flow(opened, flow, route)

    def _set_flow(self, opened: _Opened, flow: Flow, route: Route) -> None:
        translated = self._translate(flow, route)
        rows = [output.row for output in translated.outputs]
        ensure_counters(opened.maps, translated.link_row, translated.rule_row, rows)
        opened.flows.set(flow, translated)

    def _translate(self, flow: Flow, route: Route) -> KernelRoute:
        """Return a route in the words of the maps; raises RowsExhausted and SupplyError."""
        return KernelRoute(
            rule_row=self._counter_rows.rule_row(route.rule),
            link_row=self._counter_rows.link_row(flow.ifindex),
            outputs=tuple(self._translate_outputs(route)),
            is_exclusive=route.exclusive,
        )

    def _translate_outputs(self, route: Route) -> Iterator[KernelOutput]:
        for output in route.outputs:
            source, port = self._sockets.endpoint(output.egress)
            yield KernelOutput(
                ifindex=output.egress.ifindex,
                row=self._counter_rows.output_row(route.rule, output),
                source=source,
                source_port=port,
                destination=output.destination,
                port=output.port,
                destination_mac=_octets(output.path.destination) if output.path else bytes(6),
                source_mac=_octets(output.path.source) if output.path else bytes(6),
                mtu=output.path.mtu if output.path else 0,
                ttl=output.ttl,
                dscp=output.dscp,
                fault=output.fault,
                taker_row=self._taker_row(output, source),
            )

    def _taker_row(self, output: RouteOutput, source: str) -> int | None:
        """Return the row of the rule whose input gets what an output sends, if there is one."""
        desired = self._reconciler.desired
        for sender in (None, source):
            flow = Flow(output.egress.ifindex, output.destination, output.port, sender)
            taker = desired.kernel.flows.get(flow) or desired.forwarding.flows.get(flow)
            if taker is not None and not taker.loopback:
                return self._counter_rows.rule_row(taker.rule)
        return None

    def _refuse(self, action: WorkerAction, reason: str) -> None:
        """Leave the rule of an action to the workers, until the next reload."""
        if isinstance(action, SetFlow):
            self._refused[action.route.rule] = reason
            self.has_changed = True


def _stop_forwarding(opened: _Opened) -> None:
    opened.flows.delete_all()
    opened.maps.reclaim()
    opened.plane.detach_all_except(frozenset())


def _may_need_kernel(config: Config) -> bool:
    return any(may_use_kernel(rule, IS_DEFAULT) for rule in config.rules.values())


def _octets(ethernet_address: str) -> bytes:
    return bytes.fromhex(ethernet_address.replace(":", ""))


def _reason(error: OSError | RowsExhausted) -> str:
    return format_os_error(error) if isinstance(error, OSError) else str(error)


def _describe_failure(action: WorkerAction, error: OSError | RowsExhausted) -> str:
    match action:
        case Open(_, Attachment(ifindex)):
            return f"cannot attach the program to device {device_of(ifindex)}: {_reason(error)}"
        case _:
            return _reason(error)
