"""The picture is drawn as it is, and what shows nothing new is the very same drawing."""

import os
import time

import pytest

from mcrelay import __version__
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.links import Link, LinkTable
from mcrelay.protocol.snapshot import delta
from mcrelay.reconcile.lifecycle import TIMEOUT_S, Phase, Process
from mcrelay.reconcile.plan import plan
from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor.configuration import Configuration
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.snapshot import ProcessInfo, SnapshotBuilder
from mcrelay.supervisor.systemd import Notifier
from tests.support.strategies import reached

HEAD = "version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\nrules:\n"
LINKS = LinkTable({"eth0": Link(2, "eth0"), "eth1": Link(3, "eth1", addresses=("10.9.2.1",))})


class Studio:
    """A supervisor's parts, without its loop and its processes."""

    def __init__(self, folder):
        self.configuration = Configuration(
            folder / "mcrelay.yaml", Notifier(), StateDirectory(folder / "state")
        )
        self.reconciler = Reconciler()
        self.ledger = CounterRows()
        (folder / "run").mkdir()
        (folder / "run" / CONTROL_SOCKET).touch()
        self.portrait = SnapshotBuilder(folder / "run", self.configuration, self.reconciler, self.ledger)

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
        self.reconciler.running = reached(self.reconciler.desired)
        forwarding = self.reconciler.desired.forwarding
        actions = [Open(0, ingress) for ingress in forwarding.ingress]
        actions += [SetFlow(0, flow, route) for flow, route in forwarding.flows.items()]
        self.ledger.instructions(actions, frozenset())

    def drawn(self, *members, links=LINKS):
        return self.portrait.build(links, members)


@pytest.fixture
def studio(tmp_path):
    return Studio(tmp_path)


def test_a_rule_is_shown_with_its_place_its_way_and_its_rows(studio):
    studio.accept(feed=5001)
    studio.settle()
    picture = studio.drawn()
    rule = picture["rules"]["feed"].as_json()
    assert (rule["file"], rule["line"], rule["description"]) == ("mcrelay.yaml", 4, "the feed")
    assert (rule["enabled"], rule["data_plane"], rule["workers"], rule["row"]) == (True, "userspace", 1, 0)
    assert rule["input"]["device"] == "eth0"
    [output] = rule["outputs"]
    assert (output["source"], output["runs"], output["row"]) == ("10.9.2.1", True, 0)
    assert picture["verdicts"]["feed"].as_json() == ["active", ""]


def test_interfaces_are_shown_with_their_groups_and_rows(studio):
    studio.accept(feed=5001)
    studio.settle()
    interfaces = studio.drawn()["interfaces"]
    assert interfaces["studio"]["memberships"] == [{"group": "239.1.1.1", "source": None}]
    assert interfaces["studio"]["row"] == 0
    assert (interfaces["plant"]["row"], interfaces["plant"]["source"]) == (None, "10.9.2.1")
    gone = studio.drawn(links=LinkTable())["interfaces"]["studio"]
    assert (gone["link"], gone["row"], gone["memberships"]) == ("absent", None, [])


def test_the_daemon_says_where_it_is_and_what_it_runs(studio, tmp_path):
    studio.accept(feed=5001)
    picture = studio.drawn()
    assert picture["daemon"]["pid"] == os.getpid()
    assert picture["daemon"]["version"] == __version__
    assert picture["daemon"]["config"] == str(tmp_path / "mcrelay.yaml")
    assert picture["daemon"]["run_dir"] == str(tmp_path / "run")
    assert picture["daemon"]["state_dir"] == str(tmp_path / "state")
    assert picture["daemon"]["watch"] is True
    assert picture["trial"] is None
    assert picture["generation"] == {"number": 1, "hash": "", "accepted": 0.0}
    assert picture["reload"] == {"begun": 0, "finished": 0, "earlier": []}


def test_what_shows_nothing_new_is_not_drawn_again(studio):
    studio.accept(feed=5001, clock=5002)
    studio.settle()
    before, after = studio.drawn(), studio.drawn()
    assert after["rules"] is before["rules"]
    assert after["interfaces"] is before["interfaces"]
    assert delta(before, after) == {}


def test_after_a_reload_only_the_rule_that_changed_is_drawn_again(studio):
    studio.accept(feed=5001, clock=5002)
    studio.settle()
    before = studio.drawn()
    studio.accept(feed=5003, clock=5002)
    after = studio.drawn()
    assert after["rules"]["clock"] is before["rules"]["clock"]
    assert delta(before, after)["rules"]["set"].keys() == {"feed"}


def test_a_rule_that_only_moved_in_its_file_shows_its_new_line(studio):
    studio.accept(feed=5001, clock=5002)
    studio.drawn()
    studio.accept(clock=5002, feed=5001)
    rules = studio.drawn()["rules"]
    assert [(name, rule.where.line) for name, rule in rules.items()] == [("clock", 4), ("feed", 5)]


def test_a_process_that_pauses_says_why(studio):
    studio.accept(feed=5001)
    process = Process()
    process.begin(Phase.STARTING, now=0.0)
    starting = studio.drawn(ProcessInfo("worker 0", "worker", process, None))["processes"]["worker 0"]
    assert (starting["state"], starting["pid"]) == ("starting", None)
    process.exited(TIMEOUT_S, "killed by SIGKILL")
    drawn = studio.drawn(ProcessInfo("worker 0", "worker", process, None))
    pausing = drawn["processes"]["worker 0"]
    assert (pausing["state"], pausing["reason"], pausing["restarts"]) == ("pausing", "killed by SIGKILL", 1)
    supervisor = drawn["processes"]["supervisor"]
    assert supervisor["state"] == "running"
    assert 0 < supervisor["started"] <= time.monotonic()
    again = studio.drawn(ProcessInfo("worker 0", "worker", process, None))
    assert delta(drawn, again) == {}, "a time that was told does not tremble"
