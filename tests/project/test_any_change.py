"""After any changes, trials, rollbacks, failures and deaths, the daemon runs what a fresh start would run.

A model says which text a fresh start would run. The model knows files as texts and time as a number, and
nothing of the daemon.
"""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.reload.requests import Confirm, Try
from mcrelay.reload.trial import BootTime
from tests.support.supervisor_harness import Stage

HEAD = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}, c: {device: eth2}}\n"
RULES = {
    "feed": "{input: {interface: a, group: 239.1.1.1, port: 5001}, outputs: [{interface: b}]}",
    "twice": "{input: {interface: a, group: 239.1.1.2, port: 5001},"
    " outputs: [{interface: b}, {interface: c}]}",
    "chosen": "{input: {interface: b, group: 232.1.1.1, port: 5002, sources: [10.0.0.5, 10.0.0.6]},"
    " outputs: [{interface: c, source_port: 7001}]}",
    "tunnel": "{input: {interface: c, address: 10.3.0.1, port: 5003},"
    " outputs: [{interface: a, group: 239.2.2.2, ttl: 7}]}",
    "off": "{input: {interface: a, group: 239.1.1.3, port: 5001}, outputs: [{interface: b}], enabled: false}",
}


def text(*names, workers=1):
    return (
        f"{HEAD}workers: {workers}\nrules: {{" + ", ".join(f"{name}: {RULES[name]}" for name in names) + "}\n"
    )


GOOD = [
    text("feed", "chosen"),
    text("chosen", "feed") + "# the same in another order\n",
    text("feed", "twice", "off"),
    text("twice", "tunnel", workers=2),
    text("chosen", "tunnel"),
    text("feed").replace("5001", "5009"),
    text("feed").replace("interface: b}", "interface: c, group: 239.9.9.9, port: 6001, source_port: 7002}"),
    text(),
]
BAD = ["version: 2", "{", text("feed").replace("5001", "70000"), ""]
LINKS = {
    "eth0": Link(1, "eth0", addresses=(LinkAddress("10.1.0.1"),)),
    "eth1": Link(2, "eth1", addresses=(LinkAddress("10.2.0.1"),)),
    "eth2": Link(3, "eth2", addresses=(LinkAddress("10.3.0.1"),)),
}
TIMES = st.sampled_from([0.0, 0.05, 1.0, 11.0, 59.0, 120.0])


@dataclass
class Model:
    """The text that should run, and what decides about the next one."""

    file: str
    running: str
    judged: str
    end: float | None = None  # seconds; of the trial that runs
    boot: str = "boot 0"
    confirmed: str | None = None  # runs again after the trial that runs, or instead of the refused text
    refused: str | None = None

    def reload(self):
        self.judged = self.file
        if self.file in GOOD:
            self.running, self.refused = self.file, None

    def look(self):
        if self.file != self.judged:
            self.reload()

    def try_(self, end):
        if self.file in GOOD:
            self.confirmed = self.running if self.end is None else self.confirmed
            self.end = end
        self.reload()

    def confirm(self):
        self.end = None

    def time_is(self, now):
        if self.end is not None and self.end <= now:
            self.end = None
            if self.running != self.confirmed:
                self.running, self.refused = self.confirmed, self.running

    def restart(self, now, boot):
        self.judged = self.file
        if self.end is not None:
            goes_on = boot == self.boot and now < self.end
            if not goes_on:
                self.end = None
            if self.file != self.confirmed and not (goes_on and self.file in GOOD):
                self.end, self.running, self.refused = None, self.confirmed, self.file
            else:
                self.running, self.refused = self.file, None
        elif self.file == self.refused:
            self.running = self.confirmed
        else:
            self.running, self.refused = self.file, None
        self.boot = boot


class AnyChange(RuleBasedStateMachine):
    """Changes of files, trials, deaths, changes of links and time, in any order."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.monkeypatch = pytest.MonkeyPatch()
        self.others = 0
        self.remembered = {}

    @initialize(content=st.sampled_from(GOOD))
    def a_start(self, content):
        (self.folder / "mcrelay.yaml").write_text(content)
        self.stage = Stage(self.folder, LinkTable(LINKS), self.monkeypatch)
        self.model = Model(content, content, content)
        self.stage.start()

    def teardown(self):
        if hasattr(self, "stage"):
            self.everything_settles()
            self.stage.close()
        self.monkeypatch.undo()
        shutil.rmtree(self.folder)

    # Files.

    def write(self, content):
        self.stage.file.write_text(content)
        self.model.file = content

    def another(self, data):
        """Return a good text other than the one that runs."""
        return data.draw(st.sampled_from([content for content in GOOD if content != self.model.running]))

    @rule(data=st.data())
    def a_good_file_is_written(self, data):
        self.write(self.another(data))

    @rule(content=st.sampled_from(BAD))
    def a_bad_file_is_written(self, content):
        self.write(content)

    @rule(data=st.data(), is_watched=st.booleans())
    def a_change_is_applied(self, data, is_watched):
        self.write(self.another(data))
        if is_watched:
            self.the_watcher_looks()
        else:
            self.a_hangup_comes()

    @rule(data=st.data())
    def a_change_is_tried(self, data):
        self.write(self.another(data))
        self.a_try_comes(120.0)

    @rule()
    def a_hangup_comes(self):
        self.stage.reload()
        self.model.reload()

    @rule()
    def the_watcher_looks(self):
        self.stage.look()
        self.model.look()

    # Trials.

    @rule(seconds=st.sampled_from([0.5, 10.0, 60.0, 120.0]))
    def a_try_comes(self, seconds):
        if self.model.end is None:
            self.everything_settles()
            self.remembered = self.stage.kernel.serials("egress")
        self.stage.request(Try(seconds))
        self.model.try_(self.stage.now.seconds + seconds)

    @rule(right=st.booleans())
    def a_confirmation_comes(self, right):
        generation = self.stage.configuration.generation
        self.stage.request(Confirm(generation if right else generation + 1))
        if right:
            self.model.confirm()

    @rule(seconds=TIMES)
    def time_passes(self, seconds):
        self.stage.wait(seconds)
        self.model.time_is(self.stage.now.seconds)

    @precondition(lambda self: self.model.end is not None)
    @rule()
    def the_trial_is_confirmed_after_everything_settled(self):
        self.everything_settles()
        if self.model.end is not None:  # its time was not over in between
            self.a_confirmation_comes(right=True)
            self.everything_settles()

    @precondition(lambda self: self.model.end is not None)
    @rule(is_restarted=st.booleans())
    def the_time_of_the_trial_is_over(self, is_restarted):
        self.time_passes(self.model.end - self.stage.now.seconds)
        self.everything_settles()
        if is_restarted and self.model.file in GOOD:
            self.the_supervisor_dies_and_restarts(0.0, is_boot=False)
            self.everything_settles()

    # Deaths.

    @precondition(lambda self: self.stage.board.children)
    @rule(data=st.data())
    def a_worker_dies(self, data):
        self.stage.kill_worker(data.draw(st.sampled_from(self.stage.board.children)))

    @precondition(lambda self: self.model.file in GOOD or self.model.end is not None)
    @rule(seconds=TIMES, is_boot=st.booleans())
    def the_supervisor_dies_and_restarts(self, seconds, is_boot):
        boot = f"{self.model.boot}, again" if is_boot else self.model.boot
        self.stage.now = BootTime(boot, self.stage.now.seconds + seconds, self.stage.now.time + seconds)
        self.model.restart(self.stage.now.seconds, boot)
        self.remembered = {}
        self.stage.start()

    # Links.

    @rule(device=st.sampled_from(sorted(LINKS)))
    def a_link_comes_or_goes(self, device):
        links = dict(self.stage.links.links)
        if device in links:
            del links[device]
        else:
            highest = max((link.ifindex for link in links.values()), default=0) + len(LINKS)
            links[device] = replace(LINKS[device], ifindex=highest)
        self.links_change(links)

    @precondition(lambda self: self.stage.links.links)
    @rule(
        data=st.data(), address=st.sampled_from(["10.1.0.7", "10.3.0.1"]), mtu=st.sampled_from([1500, 9000])
    )
    def a_link_changes(self, data, address, mtu):
        links = dict(self.stage.links.links)
        device = data.draw(st.sampled_from(sorted(links)))
        links[device] = replace(links[device], addresses=(LinkAddress(address),), mtu=mtu)
        self.links_change(links)

    def links_change(self, links):
        self.remembered = {}
        self.stage.change_links(LinkTable(links))

    # Results.

    @rule(moves=st.integers(1, 4))
    def workers_do_something(self, moves):
        for _ in range(moves):
            any(self.stage.speak(child) for child in list(self.stage.board.children))

    @rule()
    def everything_settles(self):
        self.stage.settle()
        self.model.time_is(self.stage.now.seconds)
        self.compare_with_a_fresh_start()

    def compare_with_a_fresh_start(self):
        stage, model = self.stage, self.model
        fresh = self.run_fresh(model.running)
        *running, egress = stage.running
        *wanted, sending = fresh
        assert running == wanted
        if model.end is None:
            assert egress == sending
        else:
            assert sending <= egress <= sending | self.run_fresh(model.confirmed)[-1]
        self.check_sockets_are_kept()
        self.check_snapshot()

    def check_sockets_are_kept(self):
        """The confirmed configuration has the same sockets as before the trial."""
        serials = self.stage.kernel.serials("egress")
        if self.model.end is not None or self.model.running == self.model.confirmed:
            assert serials.items() >= self.remembered.items()
        if self.model.end is None:
            self.remembered = {}

    def check_snapshot(self):
        snapshot, trial = self.stage.snapshot, self.stage.snapshot["trial"]
        assert (trial is None) == (self.model.end is None)
        if trial is not None:
            assert trial["generation"] == snapshot["generation"]["number"]
            assert trial["hash"] == snapshot["generation"]["hash"]
        assert self.stage.systemd.states, "systemd gets a message at the start"
        assert not self.stage.configuration.reloads.has_unpublished_results
        assert self.stage.file.read_text() == self.model.file, "the daemon does not write the user's files"

    def run_fresh(self, content):
        """Return what a daemon runs that starts with nothing but this text."""
        self.others += 1
        folder = self.folder / f"other {self.others}"
        folder.mkdir()
        (folder / "mcrelay.yaml").write_text(content)
        other = Stage(folder, self.stage.links, self.monkeypatch)
        other.start()
        other.settle()
        other.close()
        self.stage.act()
        return other.running


TestAnyChange = AnyChange.TestCase
TestAnyChange.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
