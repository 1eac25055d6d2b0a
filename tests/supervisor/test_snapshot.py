"""A snapshot has the current state, and shares the sections that did not change with the one before."""

import os
import time

import pytest

from mcrelay import __version__
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.protocol.snapshot import compute_delta
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.plan import plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.snapshot import ProcessInfo, SnapshotBuilder
from mcrelay.supervisor.systemd import Notifier
from tests.support.strategies import running_as

HEAD = "version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\nrules:\n"
LINKS = LinkTable({"eth0": Link(2, "eth0"), "eth1": Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"),))})


class Parts:
    """The parts of a supervisor that a snapshot is built from."""

    def __init__(self, folder):
        self.configuration = Configuration(
            folder / "mcrelay.yaml", Notifier(), StateDirectory(folder / "state")
        )
        self.reconciler = Reconciler()
        self.counter_rows = CounterRows()
        (folder / "run").mkdir()
        (folder / "run" / CONTROL_SOCKET).touch()
        self.loss = ""
        self.builder = SnapshotBuilder(
            folder / "run", self.configuration, self.reconciler, self.counter_rows, lambda: self.loss
        )

    def accept(self, **ports):
        rules = "".join(
            f"  {name}: {{description: the {name}, outputs: [{{interface: plant, group: 239.2.2.2}}],"
            f" input: {{interface: studio, group: 239.1.1.1, port: {port}}}}}\n"
            for name, port in ports.items()
        )
        self.configuration.config = compile_config([parse((HEAD + rules).encode(), "mcrelay.yaml")])
        self.configuration.generation += 1
        self.reconciler.plan_changed(plan(self.configuration.config, LINKS, 1), self.configuration.generation)

    def settle(self):
        self.reconciler.running = running_as(self.reconciler.desired)
        forwarding = self.reconciler.desired.forwarding
        actions = [Open(0, ingress) for ingress in forwarding.ingress]
        actions += [SetFlow(0, flow, route) for flow, route in forwarding.flows.items()]
        self.counter_rows.instructions(actions, frozenset())

    def build(self, *processes, links=LINKS):
        return self.builder.build(links, processes)


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


def test_a_rule_has_its_position_in_the_file_its_devices_and_its_rows(parts):
    parts.accept(feed=5001)
    parts.settle()
    snapshot = parts.build()
    rule = snapshot["rules"]["feed"].as_json()
    shown = rule["shown"]
    assert (shown["file"], shown["line"], shown["description"]) == ("mcrelay.yaml", 4, "the feed")
    assert (shown["enabled"], shown["data_plane"], rule["rows"]) == (True, "userspace", (0, 0))
    assert shown["input"]["device"] == "eth0"
    [output] = shown["outputs"]
    assert (output["source"], output["runs"]) == ("10.9.2.1", True)
    assert snapshot["statuses"]["feed"].as_json() == ["active", ""]


def test_interfaces_have_their_groups_and_rows(parts):
    parts.accept(feed=5001)
    parts.settle()
    interfaces = parts.build()["interfaces"]
    assert interfaces["studio"]["shown"]["memberships"] == [{"group": "239.1.1.1", "source": None}]
    assert (interfaces["studio"]["ifindex"], interfaces["studio"]["row"]) == (2, 0)
    assert (interfaces["plant"]["ifindex"], interfaces["plant"]["row"]) == (3, None)
    assert interfaces["plant"]["shown"]["addresses"] == ["10.9.2.1"]
    gone = parts.build(links=LinkTable())["interfaces"]["studio"]
    assert (gone["shown"]["link"], gone["ifindex"], gone["row"]) == ("absent", None, None)
    assert gone["shown"]["memberships"] == []


def test_the_daemon_has_its_paths_and_its_generation(parts, tmp_path):
    parts.accept(feed=5001)
    snapshot = parts.build()
    assert snapshot["daemon"]["pid"] == os.getpid()
    assert snapshot["daemon"]["version"] == __version__
    assert snapshot["daemon"]["config"] == str(tmp_path / "mcrelay.yaml")
    assert snapshot["daemon"]["run_dir"] == str(tmp_path / "run")
    assert snapshot["daemon"]["state_dir"] == str(tmp_path / "state")
    assert snapshot["daemon"]["watch"] is True
    assert snapshot["trial"] is None
    settings = {"data_plane": "auto", "workers": "1", "watch": "true", "max_age": "1s"}
    assert snapshot["generation"] == {"number": 1, "hash": "", "accepted": 0.0, "settings": settings}
    assert snapshot["reload"] == {"begun": 0, "finished": 0, "earlier": []}


def test_the_daemon_has_its_problems(parts, tmp_path):
    (tmp_path / "state").touch()
    parts.accept(feed=5001)
    assert parts.build()["daemon"]["problems"] == []
    parts.configuration._state_directory.open()
    assert parts.builder.has_other_problems
    unusable = f"{tmp_path}/state: file exists: no history, no trials, and no rollback after a restart"
    assert parts.build()["daemon"]["problems"] == [unusable]
    assert not parts.builder.has_other_problems
    parts.loss = "3 lines of the log were lost: broken pipe"
    assert parts.build()["daemon"]["problems"] == [unusable, parts.loss]


def test_unchanged_sections_are_not_built_again(parts):
    parts.accept(feed=5001, clock=5002)
    parts.settle()
    before, after = parts.build(), parts.build()
    assert after["rules"] is before["rules"]
    assert after["interfaces"] is before["interfaces"]
    assert compute_delta(before, after) == {}


def test_after_a_reload_only_the_changed_rule_is_built_again(parts):
    parts.accept(feed=5001, clock=5002)
    parts.settle()
    before = parts.build()
    parts.accept(feed=5003, clock=5002)
    after = parts.build()
    assert after["rules"]["clock"] is before["rules"]["clock"]
    assert compute_delta(before, after)["rules"]["set"].keys() == {"feed"}


def test_a_rule_that_only_moved_in_its_file_has_its_new_line(parts):
    parts.accept(feed=5001, clock=5002)
    parts.build()
    parts.accept(clock=5002, feed=5001)
    rules = parts.build()["rules"]
    assert [(name, rule.where.line) for name, rule in rules.items()] == [("clock", 4), ("feed", 5)]


def test_a_process_that_pauses_has_a_reason(parts):
    parts.accept(feed=5001)
    process = Process()
    process.begin(Phase.STARTING, now=0.0)
    starting = parts.build(ProcessInfo("worker 0", "worker", process, None))["processes"]["worker 0"]
    assert (starting["state"], starting["pid"]) == ("starting", None)
    process.record_exit(TIMEOUT_S, "killed by SIGKILL")
    built = parts.build(ProcessInfo("worker 0", "worker", process, None))
    pausing = built["processes"]["worker 0"]
    assert (pausing["state"], pausing["reason"], pausing["restarts"]) == ("pausing", "killed by SIGKILL", 1)
    supervisor = built["processes"]["supervisor"]
    assert supervisor["state"] == "running"
    assert 0 < supervisor["started"] <= time.monotonic()
    again = parts.build(ProcessInfo("worker 0", "worker", process, None))
    assert compute_delta(built, again) == {}, "times do not change from snapshot to snapshot"
