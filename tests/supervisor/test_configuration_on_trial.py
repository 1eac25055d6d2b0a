"""What is tried is kept only if somebody says so, whoever dies meanwhile, and the files never change."""

import errno
import json
import logging
import os
from dataclasses import replace

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.reload.requests import Confirm, Try
from mcrelay.reload.results import Cause
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files, json_file
from mcrelay.storage.state_dir import MAX_ENTRIES, StateDirectory, entry_numbers, read_entry
from mcrelay.supervisor.configuration import Configuration


class Death(BaseException):
    """The supervisor's, at once."""


def die(*_):
    raise Death


def read_only(path, *_):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


NOW = BootTime("this boot", 1000.0, 1_795_000_000.0)
GOOD = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\nrules:\n"
RULE = "  {0}: {{input: {{interface: a, group: 239.1.1.1, port: {1}}}, outputs: [{{interface: b}}]}}\n"


def text(**ports):
    return GOOD + "".join(RULE.format(name, port) for name, port in ports.items())


CONFIRMED, TRIED, OTHER = text(feed=5001), text(clock=5002), text(clock=5002, extra=5003)


class Systemd:
    """What systemd would be told."""

    def __init__(self):
        self.said = []

    def reloading(self):
        pass

    def ready(self, status):
        self.said.append(status)


class Daemon:
    """A configuration with its files, and a clock that is a number; it can be killed and started again."""

    def __init__(self, folder):
        self.file, self.state = folder / "mcrelay.yaml", folder / "state"
        self.now = NOW
        self.file.write_text(CONFIRMED)
        self.start()

    def start(self):
        self.archive, self.systemd = StateDirectory(self.state), Systemd()
        self.archive.open()
        self.configuration = Configuration(self.file, self.systemd, self.archive)
        self.configuration.load(self.now)
        self.settle()

    def killed(self, seconds=0.0, boot="this boot"):
        if self.archive._lock is not None:
            os.close(self.archive._lock)
        self.now = replace(self.now.later(seconds), boot=boot)
        self.start()

    def settle(self):
        self.configuration.settled("rules")

    def tried(self, content, seconds=120.0):
        self.file.write_text(content)
        result = self.configuration.asked(Try(seconds), self.now)
        self.settle()
        return result

    def reloaded(self, content=None):
        if content is not None:
            self.file.write_text(content)
        result = self.configuration.reload()
        self.settle()
        return result

    def looked(self):
        result = self.configuration.look(config_files.read_stamps(self.file))
        self.settle()
        return result

    def confirmed(self, generation=None):
        wish = Confirm(self.configuration.generation if generation is None else generation)
        assert not self.configuration.asked(wish, self.now)
        self.settle()

    def waited(self, seconds):
        self.now = self.now.later(seconds)
        if self.configuration.trials.left(self.now) == 0:
            result = self.configuration.trial_ended()
            self.settle()
            return result
        return None

    @property
    def rules(self):
        return set(self.configuration.config.rules)

    @property
    def verdict(self):
        return self.configuration.reloads.as_json()

    @property
    def outcome(self):
        return self.verdict["outcome"]

    @property
    def shown(self):
        return self.configuration.trials.as_json(self.configuration.generation)

    def history(self):
        found = [read_entry(self.state, number) for number in entry_numbers(self.state)]
        return [(one.outcome, one.cause, one.on_trial) for one in found]


@pytest.fixture
def daemon(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    return Daemon(tmp_path)


def test_what_is_tried_runs_and_shows_until_when(daemon):
    assert daemon.tried(TRIED)
    assert (daemon.outcome, daemon.verdict["cause"]) == ("applied", "try")
    assert daemon.rules == {"clock"}
    assert daemon.shown == {
        "generation": 2,
        "hash": daemon.configuration.hash,
        "until": NOW.time + 120,
        "confirmed": read_entry(daemon.state, 1).hash,
    }
    assert "applied: generation 2 (on trial until " in daemon.systemd.said[-1]


def test_what_is_confirmed_stays(daemon):
    daemon.tried(TRIED)
    daemon.confirmed()
    assert (daemon.outcome, daemon.verdict["cause"]) == ("confirmed", "confirm")
    assert daemon.shown is daemon.configuration.trials.confirmed is None
    assert daemon.waited(1000) is None
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")
    assert daemon.history() == [("started", "start", False), ("applied", "try", False)]


def test_only_what_is_confirmed_is_on_trial_no_longer_in_the_history(daemon):
    daemon.tried(TRIED)
    daemon.reloaded(OTHER)
    daemon.confirmed()
    assert [on_trial for _, _, on_trial in daemon.history()] == [False, True, False]


def test_what_a_restart_would_roll_back_is_not_confirmed(daemon, monkeypatch):
    daemon.tried(TRIED)
    monkeypatch.setattr(json_file, "remove", read_only)
    daemon.confirmed()
    assert daemon.outcome == "refused"
    assert "would roll it back all the same: " in daemon.verdict["lines"][0]
    monkeypatch.undo()
    daemon.confirmed()
    assert (daemon.outcome, daemon.shown) == ("confirmed", None)


def test_what_is_confirmed_stays_so_where_the_history_cannot_say_it(daemon, monkeypatch, caplog):
    daemon.tried(TRIED)
    monkeypatch.setattr(json_file, "write", read_only)
    daemon.confirmed()
    assert daemon.outcome == "confirmed"
    assert "000002.json: read-only file system" in caplog.text
    monkeypatch.undo()
    daemon.killed()
    assert daemon.rules == {"clock"}


def test_an_entry_that_is_gone_does_not_keep_what_runs_from_being_confirmed(daemon, caplog):
    daemon.tried(TRIED)
    (daemon.state / "history" / "000002.json").unlink()
    daemon.confirmed()
    assert daemon.outcome == "confirmed"
    assert "000002.json: there is no such entry" in caplog.text


def test_a_trial_that_could_not_be_forgotten_is_forgotten_with_the_next_change(daemon, monkeypatch, caplog):
    daemon.tried(TRIED)
    monkeypatch.setattr(json_file, "remove", read_only)
    daemon.waited(120)
    assert "a restart would end the trial once more: " in caplog.text
    daemon.reloaded(TRIED)
    assert "what a successor finds of a trial is as it was before: " in caplog.text
    monkeypatch.undo()
    daemon.reloaded(OTHER)
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "started")


def test_what_nobody_confirms_is_rolled_back_and_the_files_stay(daemon, caplog):
    daemon.tried(TRIED)
    assert daemon.waited(119.9) is None
    assert daemon.waited(0.2)
    assert (daemon.rules, daemon.configuration.generation) == ({"feed"}, 3)
    assert (daemon.outcome, daemon.verdict["cause"]) == ("rolled_back", "deadline")
    assert (daemon.verdict["changes"]["added"], daemon.verdict["changes"]["removed"]) == (["feed"], ["clock"])
    assert daemon.shown is None
    assert daemon.file.read_text() == TRIED
    assert daemon.systemd.said[-1] == "rolled back: generation 3, rules"
    assert "nobody confirmed generation 2" in caplog.text
    assert daemon.history()[-1] == ("rolled_back", "deadline", False)


def test_what_was_rolled_back_does_not_come_back_by_itself(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    daemon.file.touch()
    assert not daemon.looked()
    for _ in range(2):
        daemon.killed()
        assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
        assert not daemon.looked()
    assert len(daemon.history()) == 3
    daemon.killed(boot="the next boot")
    assert daemon.rules == {"feed"}


def test_an_explicit_reload_takes_what_was_rolled_back(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    assert daemon.reloaded()
    assert (daemon.rules, daemon.outcome, daemon.shown) == ({"clock"}, "applied", None)
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


def test_it_can_be_tried_again(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    assert daemon.tried(TRIED)
    assert daemon.shown["generation"] == 4
    daemon.confirmed()
    daemon.killed()
    assert daemon.rules == {"clock"}


def test_files_that_say_again_what_runs_are_refused_no_longer(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    daemon.file.write_text(CONFIRMED)
    assert not daemon.looked()
    assert daemon.outcome == "unchanged"
    daemon.file.write_text(TRIED)
    daemon.killed()
    assert daemon.rules == {"clock"}


def test_what_was_rolled_back_long_ago_is_a_file_like_any(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    daemon.reloaded(OTHER)
    daemon.file.write_text(TRIED)
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


def test_a_change_after_the_rollback_is_a_change_like_any(daemon):
    daemon.tried(TRIED)
    daemon.waited(120)
    daemon.file.write_text(OTHER)
    assert daemon.looked()
    assert (daemon.rules, daemon.shown) == ({"clock", "extra"}, None)
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "started")


def test_a_trial_may_begin_before_the_change(daemon):
    assert not daemon.tried(CONFIRMED)
    assert (daemon.outcome, daemon.shown["generation"]) == ("unchanged", 1)
    daemon.file.write_text(TRIED)
    assert daemon.looked()
    assert (daemon.shown["generation"], daemon.shown["hash"]) == (2, daemon.configuration.hash)
    assert daemon.waited(120)
    assert daemon.rules == {"feed"}


def test_a_trial_in_which_nothing_changed_ends_without_a_word(daemon):
    daemon.tried(CONFIRMED)
    assert daemon.waited(120) is False
    assert (daemon.verdict["begun"], daemon.outcome, daemon.shown) == (2, "unchanged", None)
    assert daemon.configuration.generation == 1
    assert daemon.history() == [("started", "start", False)]


def test_a_trial_in_which_nothing_has_changed_yet_outlives_a_crash(daemon):
    daemon.tried(CONFIRMED)
    daemon.killed(60)
    assert daemon.shown["until"] == NOW.time + 120
    daemon.reloaded(TRIED)
    assert daemon.waited(60)
    assert daemon.rules == {"feed"}


def test_a_bad_file_is_no_trial(daemon):
    assert not daemon.tried(text(feed=70000))
    assert (daemon.outcome, daemon.shown) == ("rejected", None)
    assert not (daemon.state / "trial.json").exists()


@pytest.mark.parametrize("applied", [lambda daemon: daemon.reloaded(OTHER), lambda daemon: daemon.looked()])
def test_what_is_applied_during_a_trial_is_on_trial_until_the_same_end(daemon, applied):
    daemon.tried(TRIED)
    daemon.waited(60)
    daemon.file.write_text(OTHER)
    assert applied(daemon)
    assert daemon.outcome == "applied"
    assert (daemon.shown["generation"], daemon.shown["until"]) == (3, NOW.time + 120)
    assert daemon.waited(60)
    assert daemon.rules == {"feed"}
    assert not daemon.looked(), "it was rolled back, too"


def test_a_bad_file_during_a_trial_changes_nothing_of_it(daemon):
    daemon.tried(TRIED)
    assert not daemon.tried("{", 500)
    assert (daemon.outcome, daemon.rules) == ("rejected", {"clock"})
    assert daemon.shown["until"] == NOW.time + 120


@pytest.mark.parametrize(("content", "outcome"), [(TRIED, "unchanged"), (OTHER, "applied")])
def test_a_second_try_moves_the_end(daemon, content, outcome):
    daemon.tried(TRIED)
    daemon.waited(100)
    daemon.tried(content)
    assert daemon.outcome == outcome
    assert daemon.waited(100) is None
    assert daemon.waited(20)
    assert daemon.rules == {"feed"}


def test_what_was_confirmed_and_is_applied_again_needs_no_rollback(daemon, caplog):
    daemon.tried(TRIED)
    daemon.reloaded(CONFIRMED)
    assert daemon.shown is not None
    assert daemon.waited(120) is False
    assert (daemon.rules, daemon.configuration.generation, daemon.shown) == ({"feed"}, 3, None)
    assert "what runs was confirmed before it" in caplog.text
    daemon.killed()
    assert daemon.outcome == "started"


def test_a_confirmation_without_a_trial_is_refused(daemon):
    daemon.confirmed()
    assert daemon.outcome == "refused"
    assert daemon.verdict["lines"] == ["mcrelay confirm: nothing is on trial"]
    assert daemon.systemd.said[-1].startswith("refused: mcrelay confirm: nothing is on trial; running on")


def test_a_confirmation_of_what_runs_no_longer_is_refused(daemon):
    daemon.tried(TRIED)
    daemon.reloaded(OTHER)
    daemon.confirmed(2)
    assert daemon.outcome == "refused"
    assert daemon.verdict["problems"][0]["message"] == "generation 3 is on trial, not 2"
    assert daemon.shown is not None


def test_a_wish_that_nobody_understands_is_refused(daemon):
    daemon.configuration.refuse(Cause.HANGUP, "what is this")
    daemon.settle()
    assert (daemon.outcome, daemon.verdict["cause"]) == ("refused", "hangup")


# Crashes.


@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_trial_outlives_a_crash_whatever_the_files_say_now(daemon, content):
    daemon.tried(TRIED)
    daemon.file.write_text(content)
    daemon.killed(60)
    assert (daemon.outcome, daemon.configuration.generation) == ("started", 1)
    assert "clock" in daemon.rules
    assert daemon.shown["until"] == NOW.time + 120
    assert daemon.waited(60)
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
    daemon.killed()
    assert daemon.rules == {"feed"}


def test_a_trial_that_outlived_a_crash_can_be_confirmed(daemon):
    daemon.tried(TRIED)
    daemon.killed(60)
    daemon.confirmed()
    assert daemon.outcome == "confirmed"
    daemon.killed(1000)
    assert (daemon.rules, daemon.outcome) == ({"clock"}, "started")


@pytest.mark.parametrize(("seconds", "boot"), [(120, "this boot"), (1, "the next boot")])
@pytest.mark.parametrize("content", [TRIED, OTHER])
def test_a_trial_that_ended_meanwhile_is_rolled_back_at_the_start(daemon, seconds, boot, content):
    daemon.tried(TRIED)
    daemon.file.write_text(content)
    daemon.killed(seconds, boot)
    assert (daemon.rules, daemon.outcome, daemon.shown) == ({"feed"}, "rolled_back", None)
    assert not daemon.looked()
    daemon.killed()
    assert daemon.rules == {"feed"}


def test_a_bad_file_within_a_trial_is_rolled_back_at_the_start_and_stops_nothing(daemon, caplog):
    daemon.tried(TRIED)
    daemon.file.write_text("version: 2")
    daemon.killed()
    assert (daemon.rules, daemon.outcome, daemon.shown) == ({"feed"}, "rolled_back", None)
    assert f"{daemon.file}:1" in caplog.text


def test_a_bad_file_without_a_trial_is_no_configuration(daemon):
    daemon.file.write_text("version: 2")
    with pytest.raises(ConfigError):
        daemon.killed()


@pytest.mark.parametrize("rest", ["refused.json", "history/000003.json"])
def test_a_crash_between_two_steps_of_a_rollback_is_made_up_for(daemon, rest):
    daemon.tried(TRIED)
    trial = (daemon.state / "trial.json").read_bytes()
    daemon.waited(120)
    (daemon.state / "trial.json").write_bytes(trial)
    (daemon.state / rest).unlink()
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")
    assert not (daemon.state / "trial.json").exists()
    daemon.killed()
    assert daemon.rules == {"feed"}


def test_a_crash_within_a_rollback_finds_what_was_confirmed_many_reloads_ago(daemon, monkeypatch):
    daemon.tried(TRIED)
    for port in range(1, MAX_ENTRIES + 5):
        daemon.reloaded(text(clock=port))
    monkeypatch.setattr(daemon.configuration, "_keep_refused", die)
    with pytest.raises(Death):
        daemon.waited(120)
    daemon.killed()
    assert (daemon.rules, daemon.outcome) == ({"feed"}, "rolled_back")


def changed(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{"),
        lambda path: changed(path, contents=[["/etc/mcrelay.yaml", text(evil=6666)]]),
        lambda path: changed(path, contents=[["/etc/mcrelay.yaml", "\ud800"]]),
    ],
)
def test_where_nothing_is_left_to_go_back_to_the_files_run_and_that_is_told(daemon, caplog, spoil):
    daemon.tried(TRIED)
    spoil(daemon.state / "history" / "000001.json")
    daemon.killed()
    assert (daemon.rules, daemon.outcome, daemon.shown) == ({"clock"}, "started", None)
    assert "what was confirmed cannot come back" in caplog.text


def test_an_entry_that_is_no_config_any_more_is_nothing_to_go_back_to(daemon, caplog):
    daemon.tried(TRIED)
    contents = [(str(daemon.file), b"version: 2")]
    as_text = [[name, content.decode()] for name, content in contents]
    changed(daemon.state / "history" / "000001.json", contents=as_text, hash=config_files.digest(contents))
    daemon.killed()
    assert daemon.rules == {"clock"}
    assert "is no config any more" in caplog.text


# The state directory.


def test_without_a_state_directory_there_is_no_trial_and_all_else_works(daemon):
    holder = daemon.archive
    second = StateDirectory(daemon.state)
    second.open()
    daemon.configuration = Configuration(daemon.file, daemon.systemd, second)
    daemon.configuration.load(daemon.now)
    daemon.settle()
    assert not daemon.tried(TRIED)
    assert daemon.outcome == "refused"
    assert "nothing to go back to: " in daemon.verdict["lines"][0]
    assert "belongs to another mcrelay" in daemon.verdict["lines"][0]
    assert daemon.rules == {"feed"}
    assert daemon.reloaded()
    assert daemon.rules == {"clock"}
    assert holder.latest().number == 1


def test_a_trial_that_cannot_be_written_down_does_not_begin(daemon):
    (daemon.state / "trial.json").mkdir()
    assert not daemon.tried(TRIED)
    assert (daemon.outcome, daemon.rules, daemon.shown) == ("refused", {"feed"}, None)
    assert "trial.json: is a directory" in daemon.verdict["lines"][0]


def test_what_could_not_be_kept_is_nothing_to_go_back_to(daemon, monkeypatch):
    monkeypatch.setattr(daemon.archive, "add", lambda made: None)
    daemon.reloaded(OTHER)
    monkeypatch.undo()
    assert not daemon.tried(TRIED)
    assert daemon.outcome == "refused"
    assert "could not be written to the history" in daemon.verdict["lines"][0]


def test_what_could_not_be_kept_is_kept_as_soon_as_a_trial_needs_it(daemon, monkeypatch):
    monkeypatch.setattr(json_file, "write", read_only)
    daemon.reloaded(OTHER)
    assert not daemon.tried(OTHER)
    assert daemon.outcome == "refused"
    monkeypatch.undo()
    daemon.tried(OTHER)
    assert (daemon.outcome, read_entry(daemon.state, 2).hash) == ("unchanged", daemon.configuration.hash)
    daemon.reloaded(TRIED)
    daemon.killed(seconds=120)
    assert (daemon.rules, daemon.outcome) == ({"clock", "extra"}, "rolled_back")


def test_a_rollback_needs_no_disk(daemon, caplog):
    daemon.tried(TRIED)
    for path in sorted(daemon.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    daemon.state.rmdir()
    assert daemon.reloaded(OTHER)
    assert daemon.waited(120)
    assert (daemon.rules, daemon.outcome, daemon.shown) == ({"feed"}, "rolled_back", None)
    assert "a restart will take the files as they are" in caplog.text


def test_what_is_confirmed_is_kept_however_many_reloads_a_trial_has(daemon):
    daemon.tried(TRIED)
    for port in range(1, MAX_ENTRIES + 5):
        daemon.reloaded(text(clock=port))
    assert entry_numbers(daemon.state)[0] == 1
    assert len(entry_numbers(daemon.state)) == MAX_ENTRIES + 1
    daemon.killed()
    daemon.waited(120)
    assert daemon.rules == {"feed"}
    assert len(entry_numbers(daemon.state)) == MAX_ENTRIES


def test_a_restart_is_no_entry_of_the_history_and_another_file_is(daemon):
    daemon.killed()
    daemon.killed(boot="the next boot")
    assert daemon.history() == [("started", "start", False)]
    daemon.file.write_text(OTHER)
    daemon.killed()
    assert daemon.history() == [("started", "start", False), ("started", "start", False)]
    assert not daemon.reloaded()
    assert daemon.tried(TRIED)
    assert len(daemon.history()) == 3


def test_an_entry_has_all_that_the_files_said(daemon):
    folder = daemon.file.with_name("mcrelay.d")
    folder.mkdir()
    (folder / "extra.yaml").write_text("# Gr\u00fc\u00dfe\r\nrules:\n" + RULE.format("extra", 5009))
    assert daemon.reloaded()
    found = read_entry(daemon.state, 2)
    assert found.contents == (
        (str(daemon.file), CONFIRMED),
        (str(folder / "extra.yaml"), "# Gr\u00fc\u00dfe\r\nrules:\n" + RULE.format("extra", 5009)),
    )
    assert found.hash == daemon.configuration.hash
    assert found.changes["added"] == ["extra"]
