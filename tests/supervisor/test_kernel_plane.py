"""The kernel data plane carries out batches as a worker does, adopts what is there, or tells why not."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.kernel.layout import AddressKey, group_mac
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.model.counters import OUTPUTS, RULES, Table
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.state import KERNEL, Attachment, Egress, Flow
from mcrelay.protocol.control import KernelCounters
from mcrelay.reconcile.commands import Kill, Perform, SendBatch, Start, Stop
from mcrelay.reconcile.plan import plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.supervisor import counter_rows, kernel_plane
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.kernel_plane import UNKNOWN_ROUTE, KernelDataPlane
from mcrelay.supervisor.supply import SupplyError
from tests.support.kernel_harness import PROGRAMS, FakeMaps, FakePlane, FakeSockets

RUN_DIR = Path("/run/mcrelay")
LINKS = LinkTable(
    {
        "eth0": Link(2, "eth0", addresses=(LinkAddress("10.1.0.1"),), ethernet_address="02:00:00:00:00:02"),
        "eth1": Link(3, "eth1", addresses=(LinkAddress("10.2.0.1"),), ethernet_address="02:00:00:00:00:03"),
    }
)
HEAD = "version: 1\nworkers: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\nrules:\n"
FEED, CLOCK = Flow(2, "239.1.1.1", 5001), Flow(2, "239.1.1.2", 5002)


def rule(name, number, source="", keys="data_plane: kernel"):
    """Return the text of a rule with the group 239.1.1.`number`."""
    sources = f", sources: [{source}]" if source else ""
    flow = f"interface: studio, group: 239.1.1.{number}, port: {5000 + number}{sources}"
    return (
        f"  {name}: {{input: {{{flow}}}, outputs: [{{interface: plant, group: 239.2.2.{number}}}], {keys}}}\n"
    )


def config(*rules):
    text = HEAD + "".join(rules) if rules else HEAD.replace("rules:\n", "")
    return compile_config([parse(text.encode(), "mcrelay.yaml")])


BOTH = config(rule("feed", 1), rule("clock", 2))
IN_WORKERS = config(rule("feed", 1, keys="data_plane: userspace"))
NONE = config()


class Host:
    """A daemon whose kernel data plane has fakes below; commands to workers are not carried out."""

    def __init__(self, monkeypatch, maps=None, first_port=40_000):
        self.maps = maps or FakeMaps()
        self.plane = FakePlane(self.maps)
        self.sockets = FakeSockets(self.maps, first_port)
        self.reconciler, self.rows = Reconciler(), CounterRows()
        self.left_over = []
        self.kernel = KernelDataPlane(RUN_DIR, self.reconciler, self.sockets, self.rows)
        monkeypatch.setattr(kernel_plane, "find_directory", lambda run_dir: run_dir / "bpf")
        monkeypatch.setattr(kernel_plane, "open_relay", lambda directory: (self.plane, self.maps))
        monkeypatch.setattr(kernel_plane, "remove_left_over", self.left_over.append)
        monkeypatch.setattr(kernel_plane, "device_of", lambda ifindex: f"eth{ifindex - 2}")
        self.counted = []
        reader = SimpleNamespace(add=lambda name, descriptor: None, rows_in_use=lambda: self.counted)
        monkeypatch.setattr(kernel_plane, "CounterReader", lambda cpus: reader)
        self.now = 0.0
        monkeypatch.setattr(kernel_plane.time, "monotonic", lambda: self.now)

    def apply(self, wanted):
        """Plan a configuration, and carry out what concerns the kernel until nothing is left."""
        self.kernel.prepare(wanted)
        self.plan(wanted)
        self.run()

    def plan(self, wanted):
        planned = plan(wanted, LINKS, 1, self.reconciler.plan, kernel=self.kernel.support)
        self.reconciler.plan_changed(planned, 1)
        self.kernel.update_tables()

    def run(self):
        for _ in range(10):
            commands = self.reconciler.due_commands(self.now)
            for command in commands:
                match command:
                    case Start(worker) if worker == KERNEL:
                        self.kernel.start()
                    case Stop(worker) | Kill(worker) if worker == KERNEL:
                        self.kernel.stop()
                    case SendBatch(worker) if worker == KERNEL:
                        self.kernel.send(command)
                    case Perform():
                        self.reconciler.actions_performed({}, self.now)
            if not commands:
                return
        raise AssertionError("the reconciler does not settle")

    @property
    def running(self):
        return self.reconciler.running.workers.get(KERNEL)

    @property
    def status(self):
        return self.reconciler.statuses()["feed"]


@pytest.fixture
def host(monkeypatch):
    return Host(monkeypatch)


# Opening.


def test_a_configuration_that_needs_no_kernel_opens_nothing_and_what_an_earlier_daemon_left_goes(host):
    host.apply(IN_WORKERS)
    assert host.left_over == [RUN_DIR]
    assert host.kernel.support.missing == "no rule needs it"
    assert host.kernel.counter_segments() == {}
    host.kernel.clear_rows([(RULES, 0)])
    host.kernel.clean_up(NONE)
    host.kernel.remove()
    host.kernel.close()
    assert host.plane.end is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KernelPlaneUnavailable("there is no compiler"), "there is no compiler"),
        (OSError(errno.EPERM, os.strerror(errno.EPERM)), "the daemon lacks CAP_BPF or CAP_NET_ADMIN"),
    ],
)
def test_where_it_cannot_be_opened_a_rule_that_asks_for_it_fails_with_the_reason(
    host, monkeypatch, error, reason
):
    def refuse(directory):
        raise error

    monkeypatch.setattr(kernel_plane, "open_relay", refuse)
    host.apply(BOTH)
    assert reason in host.kernel.support.missing
    assert host.left_over == [RUN_DIR]
    assert host.status.state is RuleState.FAILED
    assert host.status.reason.startswith("`data_plane: kernel`: ")
    assert reason in host.status.reason


def test_a_start_without_an_open_plane_is_an_exit_with_the_reason(host):
    host.kernel.prepare(BOTH)
    host.plan(BOTH)
    assert host.reconciler.due_commands(0.0)[0] == Start(KERNEL)
    host.kernel.close()
    host.kernel.start()
    assert host.running is None
    assert host.reconciler.processes[KERNEL].reason == "no rule needs it"


# Batches.


def test_rules_run_in_the_kernel_once_everything_that_they_need_is_there(host):
    host.apply(BOTH)
    assert host.running == host.reconciler.desired.kernel
    assert host.status.state is RuleState.ACTIVE
    assert not host.kernel.support.missing
    assert host.plane.devices == {2}
    assert host.sockets.filters == {2: PROGRAMS["ring_filter"]}
    assert host.maps.has_own == {("10.2.0.1", 40_000)}
    assert host.maps.has_links == {2: host.rows.link_row(2)}
    assert AddressKey(0, "239.1.1.1", 5001) in host.maps.has_addresses
    names = host.maps.names()
    assert names.index("filter_rings") < names.index("set_own") < names.index("set_flow")


def test_a_flow_has_what_the_program_writes_into_headers(host):
    host.apply(BOTH)
    route = host.maps.has_flows[FEED]
    (output,) = route.outputs
    assert (output.ifindex, output.source, output.source_port) == (3, "10.2.0.1", 40_000)
    assert (output.destination, output.port) == ("239.2.2.1", 5001)
    assert output.destination_mac == group_mac("239.2.2.1")
    assert output.source_mac == bytes((2, 0, 0, 0, 0, 3))
    assert (output.mtu, output.ttl, output.fault, output.taker_row) == (1500, 64, None, None)
    assert route.rule_row == host.rows.rule_row("feed")
    assert (RULES.offset, route.rule_row) in host.maps.cells


def test_an_exclusive_rule_is_exclusive_in_the_kernel(host):
    host.apply(config(rule("feed", 1, keys="exclusive: true")))
    assert host.maps.has_flows[FEED].is_exclusive


def test_an_output_into_the_input_of_another_rule_names_the_rule_that_counts_it(host):
    taker = (
        "  taker: {input: {interface: plant, group: 239.2.2.1, port: 5001}, outputs: [{interface: studio}]}\n"
    )
    host.apply(config(rule("feed", 1), taker))
    assert host.maps.has_flows[FEED].outputs[0].taker_row == host.rows.rule_row("taker")


def test_the_sources_of_a_flow_are_listed_as_long_as_one_of_them_is_left(host):
    two = config(rule("feed", 1, "10.0.0.5, 10.0.0.6"))
    host.apply(two)
    first, second = (replace(FEED, source=source) for source in ("10.0.0.5", "10.0.0.6"))
    assert set(host.maps.has_flows) == {FEED, first, second}
    assert host.maps.has_flows[FEED].lists_sources
    host.apply(config(rule("feed", 1, "10.0.0.5"), rule("clock", 2)))
    assert set(host.maps.has_flows) == {FEED, first, CLOCK}
    host.apply(config(rule("clock", 2)))
    assert set(host.maps.has_flows) == {CLOCK}


def test_a_rule_can_begin_and_cease_to_list_sources(host):
    listed, source = config(rule("feed", 1, "10.0.0.5")), replace(FEED, source="10.0.0.5")
    host.apply(config(rule("feed", 1)))
    host.apply(listed)
    assert set(host.maps.has_flows) == {FEED, source}
    assert host.maps.has_flows[FEED].lists_sources
    host.apply(config(rule("feed", 1)))
    assert set(host.maps.has_flows) == {FEED}
    assert not host.maps.has_flows[FEED].lists_sources
    assert host.maps.has_flows[FEED].outputs


def test_a_flow_of_which_the_workers_relay_other_sources_leaves_them_to_the_workers(host):
    kernel = rule("feed", 1, "10.0.0.5")
    workers = rule("other", 1, "10.0.0.6", keys="data_plane: userspace")
    host.apply(config(kernel, workers))
    assert host.maps.has_flows[FEED].is_shared
    host.apply(config(kernel))
    assert not host.maps.has_flows[FEED].is_shared
    host.apply(config(kernel, workers))
    assert host.maps.has_flows[FEED].is_shared


def test_a_device_runs_the_program_until_its_last_flow_has_gone(host):
    other = (
        "  back: {input: {interface: plant, group: 239.1.1.9, port: 5009}, outputs: [{interface: studio}]}\n"
    )
    host.apply(config(rule("feed", 1), other))
    host.maps.writes.clear()
    host.apply(config(other))
    names = [write[0] for write in host.maps.writes if write[0] in ("grace", "delete_flow", "detach")]
    assert names == ["grace", "delete_flow", "detach"]
    assert host.plane.devices == {3}


def test_what_rings_decided_before_a_device_got_the_program_is_void(host):
    host.sockets.has_filtered_rings = True
    host.apply(BOTH)
    names = host.maps.names()
    assert names.index("attach") < names.index("begin_epoch") < names.index("set_flow")
    host.apply(config(rule("feed", 1)))
    assert "begin_epoch" not in host.maps.names()


def test_the_same_configuration_again_writes_nothing(host):
    host.apply(BOTH)
    host.maps.writes.clear()
    host.apply(BOTH)
    host.kernel.clean_up(BOTH)
    assert host.maps.writes == []


def test_a_flow_is_marked_and_all_cpus_see_that_before_it_is_deleted(host):
    host.apply(BOTH)
    host.maps.writes.clear()
    host.apply(config(rule("clock", 2)))
    flow_writes = [write for write in host.maps.writes if write[0] in ("set_flow", "grace", "delete_flow")]
    assert [write[0] for write in flow_writes] == ["set_flow", "grace", "delete_flow"]
    assert flow_writes[0][2].is_leaving
    assert set(host.maps.has_flows) == {CLOCK}


def test_a_flow_stays_in_the_kernel_until_the_workers_have_it(host):
    host.apply(BOTH)
    host.apply(IN_WORKERS)
    assert FEED in host.maps.has_flows
    host.kernel.clean_up(IN_WORKERS)
    assert host.plane.end is None


# Failures.


def test_an_output_without_a_socket_is_a_failure_of_its_rule_alone_and_is_tried_again(host, monkeypatch):
    endpoint, taken = host.sockets.endpoint, [7000]

    def refuse(egress):
        if egress.source_port in taken:
            raise SupplyError({0: "another program has the port"})
        return endpoint(egress)

    monkeypatch.setattr(host.sockets, "endpoint", refuse)
    host.apply(config(rule("feed", 1).replace("plant,", "plant, source_port: 7000,"), rule("clock", 2)))
    assert host.kernel.support.refused == {}
    assert host.status == RuleStatus(RuleState.FAILED, "another program has the port")
    assert set(host.maps.has_flows) == {CLOCK}
    taken.clear()
    host.now += 60
    host.run()
    assert host.status == RuleStatus(RuleState.ACTIVE)
    assert set(host.maps.has_flows) == {FEED, CLOCK}


def test_a_flow_of_an_earlier_daemon_whose_port_another_program_has_taken_keeps_no_daemon_from_its_start(
    monkeypatch,
):
    earlier = Host(monkeypatch)
    earlier.apply(BOTH)
    host = Host(monkeypatch, earlier.maps)

    def refuse(egress):
        raise SupplyError({0: "another program has the port"})

    monkeypatch.setattr(host.sockets, "endpoint", refuse)
    host.plane.was_adopted = True
    host.apply(BOTH)
    assert host.status == RuleStatus(RuleState.FAILED, "another program has the port")


def test_a_rule_that_the_kernel_refuses_fails_with_the_reason_and_the_others_run(host):
    host.maps.refused[FEED] = OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    host.apply(BOTH)
    assert host.kernel.support.refused == {"feed": "argument list too long"}
    assert host.kernel.has_changed
    host.plan(BOTH)
    host.run()
    assert set(host.maps.has_flows) == {CLOCK}
    assert host.running == host.reconciler.desired.kernel
    assert host.status.state is RuleState.FAILED
    assert host.status.reason == "`data_plane: kernel`: argument list too long"
    host.maps.refused.clear()
    host.apply(BOTH)
    assert host.kernel.support.refused == {}
    assert set(host.maps.has_flows) == {FEED, CLOCK}


def test_a_device_that_cannot_run_the_program_is_named(host, caplog):
    host.plane.refused.add(2)
    host.apply(BOTH)
    assert (
        "kernel data plane: cannot attach the program to device eth0: device or resource busy" in caplog.text
    )
    assert Attachment(2) not in (host.running.resources if host.running else ())


def test_a_table_that_cannot_be_written_refuses_the_whole_batch(host):
    host.maps.refused["10.2.0.1", 40_000] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    host.kernel.prepare(BOTH)
    host.plan(BOTH)
    host.run()
    assert host.maps.has_flows == {}
    assert host.kernel.support.refused == dict.fromkeys(("feed", "clock"), "no space left on device")


def test_a_rule_without_a_free_row_is_refused_with_the_reason(host, monkeypatch):
    monkeypatch.setattr(counter_rows, "RULES", Table(RULES.columns, rows=1, offset=RULES.offset))
    host.rows = host.kernel._counter_rows = CounterRows()
    host.apply(BOTH)
    assert set(host.kernel.support.refused.values()) == {"no room for more than 1 counters of a kind"}


# An earlier daemon.


def test_what_an_earlier_daemon_left_is_adopted_and_nothing_is_written(host, monkeypatch):
    host.apply(BOTH)
    later = Host(monkeypatch, host.maps, first_port=50_000)
    later.plane = host.plane
    later.plane.was_adopted = True
    host.maps.writes.clear()
    later.apply(BOTH)
    assert later.running == later.reconciler.desired.kernel
    assert {write[0] for write in host.maps.writes} <= {"filter_rings"}


def test_a_flow_that_differs_from_the_wanted_one_is_unknown_until_it_is_set(host, monkeypatch):
    host.apply(BOTH)
    later = Host(monkeypatch, host.maps)
    wanted = config(rule("clock", 2), rule("feed", 1).replace("239.2.2.1", "239.2.2.9"))
    later.kernel.prepare(wanted)
    later.plan(wanted)
    assert Start(KERNEL) in later.reconciler.due_commands(0.0)
    later.kernel.start()
    desired = later.reconciler.desired.kernel.flows
    assert later.running.flows == {CLOCK: desired[CLOCK], FEED: UNKNOWN_ROUTE}
    host.maps.writes.clear()
    later.run()
    assert later.running.flows == desired
    assert [write[1] for write in host.maps.writes if write[0] == "set_flow"] == [FEED]
    assert later.maps.has_flows[FEED].outputs[0].destination == "239.2.2.9"


def test_counts_stay_with_their_outputs_and_those_of_nobody_are_cleared(host, monkeypatch):
    two = rule("feed", 1).replace(
        "group: 239.2.2.1}", "group: 239.2.2.8}, {interface: plant, group: 239.2.2.9}"
    )
    host.apply(config(two, rule("clock", 2)))
    gone, kept = (one.row for one in host.maps.has_flows[FEED].outputs)
    of_clock, of_feed = (host.rows.rule_row(name) for name in ("clock", "feed"))
    cleared = []
    monkeypatch.setattr(
        kernel_plane.counters, "clear", lambda _, table, row, __: cleared.append((table, row))
    )
    later = Host(monkeypatch, host.maps)
    later.counted = [(RULES, of_feed), (RULES, of_clock), (OUTPUTS, gone), (OUTPUTS, kept)]
    one = rule("feed", 1).replace("239.2.2.1", "239.2.2.9")
    later.apply(config(one))
    assert later.maps.has_flows[FEED].outputs[0].row == kept
    assert later.rows.rule_row("feed") == of_feed
    assert cleared == [(RULES, of_clock), (OUTPUTS, gone)]


def test_an_output_that_a_restart_adds_does_not_begin_with_the_counts_of_another(host, monkeypatch):
    host.apply(config(rule("feed", 1)))
    gone = host.maps.has_flows[FEED].outputs[0].row
    cleared = []
    monkeypatch.setattr(
        kernel_plane.counters, "clear", lambda _, table, row, __: cleared.append((table, row))
    )
    later = Host(monkeypatch, host.maps)
    later.counted = [(OUTPUTS, gone)]
    later.apply(config(rule("feed", 1).replace("239.2.2.1", "239.2.2.9")))
    assert later.maps.has_flows[FEED].outputs[0].row == gone
    assert cleared == [(OUTPUTS, gone)]


def test_a_flow_that_no_rule_has_any_more_is_deleted(host, monkeypatch):
    host.apply(BOTH)
    later = Host(monkeypatch, host.maps)
    later.apply(config(rule("clock", 2)))
    assert set(host.maps.has_flows) == {CLOCK}


# The end.


def test_without_rules_for_it_nothing_is_forwarded_and_everything_is_removed(host):
    host.apply(BOTH)
    host.apply(NONE)
    assert host.running is None
    assert (host.maps.has_flows, host.plane.devices) == ({}, set())
    host.kernel.clean_up(NONE)
    assert host.plane.end == "removed"
    assert host.kernel.support.missing == "no rule needs it"
    assert host.sockets.filters == {}


def test_while_rings_use_its_filter_it_stays_open_and_only_its_tables_shrink(host):
    host.apply(BOTH)
    host.apply(NONE)
    host.sockets.has_filtered_rings = True
    host.kernel.clean_up(NONE)
    assert host.plane.end is None
    assert host.maps.has_links == {}


def test_rings_with_its_filter_learn_of_new_outputs_of_the_workers(host):
    host.apply(BOTH)
    host.sockets.has_filtered_rings = True
    host.sockets.ports[Egress(3, "10.2.0.1", 7000)] = 7000
    host.kernel.update_tables()
    assert ("10.2.0.1", 7000) in host.maps.has_own


def test_tables_that_cannot_be_changed_now_are_a_warning(host, caplog):
    host.apply(BOTH)
    host.maps.refused[2] = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    host.apply(NONE)
    host.sockets.has_filtered_rings = True
    host.kernel.clean_up(NONE)
    assert "kernel data plane: cannot allocate memory" in caplog.text


def test_a_daemon_that_restarts_leaves_it_to_the_kernel(host):
    host.apply(BOTH)
    host.kernel.close()
    assert host.plane.end == "closed"
    assert host.maps.has_flows.keys() == {FEED, CLOCK}


def test_a_failed_removal_is_a_warning(host, caplog):
    host.apply(BOTH)
    host.plane.error = OSError(errno.EACCES, os.strerror(errno.EACCES))
    host.kernel.remove()
    assert "cannot remove the kernel data plane: permission denied" in caplog.text
    assert host.kernel.support.missing == "no rule needs it"


# Counters.


def test_the_memory_of_its_counters_has_a_new_number_each_time_that_it_is_opened(host):
    host.apply(BOTH)
    assert host.kernel.counter_segments() == {
        KernelCounters(1, "hot-0"): 11,
        KernelCounters(1, "cold-4"): 12,
    }
    host.kernel.remove()
    host.apply(BOTH)
    assert {counters.plane for counters in host.kernel.counter_segments()} == {2}


def test_a_row_is_cleared_by_the_program(host, monkeypatch):
    cleared = []
    monkeypatch.setattr(kernel_plane.counters, "clear", lambda *arguments: cleared.append(arguments))
    host.apply(BOTH)
    host.kernel.clear_rows([(RULES, 3)])
    assert cleared == [(PROGRAMS["clear"], RULES, 3, host.maps.cpus)]
