"""A configuration is accepted or rejected as a whole, and the result is reported."""

import logging

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor.configuration import Configuration

NOW = BootTime("this boot", 1000.0, 1_795_000_000.0)
GOOD = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\nrules:\n"
RULE = "  {0}: {{input: {{interface: a, group: 239.1.1.1, port: {1}}}, outputs: [{{interface: b}}]}}\n"

ACTIVE = {"feed": RuleStatus(RuleState.ACTIVE)}


class FakeNotifier:
    """Keeps the states of a service that systemd would get."""

    def __init__(self):
        self.states = []

    def reloading(self):
        self.states.append("reloading")

    def ready(self, status):
        self.states.append(status)


@pytest.fixture
def configuration(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "mcrelay.yaml").write_text(GOOD + RULE.format("feed", 5001))
    state_directory = StateDirectory(tmp_path / "state")
    state_directory.open()
    return Configuration(tmp_path / "mcrelay.yaml", FakeNotifier(), state_directory)


def started(configuration):
    configuration.load(NOW)
    configuration.publish_results(ACTIVE)
    configuration._notifier.states.clear()
    return configuration


def test_a_start_is_the_first_reload(configuration):
    configuration.load(NOW)
    assert (configuration.generation, configuration.reloads.begun) == (1, 1)
    assert configuration.config.rules.keys() == {"feed"}
    assert configuration.accepted > 1_700_000_000
    configuration.publish_results(ACTIVE)
    assert configuration._notifier.states == ["started: generation 1, 1 rule (1 active)"]
    assert configuration.reloads.as_json()["outcome"] == "started"


def test_a_start_with_an_invalid_file_fails(configuration):
    configuration.path.write_text("version: 2")
    with pytest.raises(ConfigError):
        configuration.load(NOW)
    assert configuration.generation == 0


def test_an_unchanged_file_changes_nothing_and_is_reported(configuration):
    before = started(configuration).config
    assert not configuration.reload()
    configuration.publish_results(ACTIVE)
    assert configuration.config is before
    assert configuration._notifier.states == ["reloading", "unchanged: generation 1, 1 rule (1 active)"]
    assert configuration.reloads.as_json()["changes"]["kept"] == 1


def test_a_changed_file_is_the_next_generation(configuration, caplog):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert configuration.reload()
    assert configuration.generation == 2
    configuration.publish_results(ACTIVE)
    assert configuration._notifier.states[-1] == "applied: generation 2, 1 rule (1 active)"
    document = configuration.reloads.as_json()
    assert (document["changes"]["added"], document["changes"]["removed"]) == (["clock"], ["feed"])
    assert "generation 2, rules: 1 added, 0 changed, 1 removed, 0 kept" in caplog.text


def test_an_invalid_file_changes_nothing_and_is_reported_with_its_lines(configuration, caplog):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("feed", 70000))
    assert not configuration.reload()
    configuration.publish_results(ACTIVE)
    assert configuration.generation == 1
    document = configuration.reloads.as_json()
    assert (document["outcome"], document["generation"], len(document["problems"])) == ("rejected", 1, 1)
    assert document["problems"][0]["line"] == 4
    assert document["lines"][-1].strip() == "^"
    states = configuration._notifier.states[-1]
    assert states.startswith(f"rejected: {configuration.path}:4:")
    assert states.endswith("running on: generation 1, 1 rule (1 active)")
    assert caplog.messages[-1] == "rejected; running on: generation 1, 1 rule (1 active)"
    assert sum("70000" in line for line in caplog.messages) == 2  # the problem, and its line


def test_a_file_that_is_valid_again_as_before_is_unchanged(configuration):
    started(configuration)
    good = configuration.path.read_text()
    configuration.path.write_text("{")
    assert not configuration.reload()
    configuration.path.write_text(good)
    assert not configuration.reload()
    configuration.publish_results({})
    assert configuration.reloads.as_json()["outcome"] == "unchanged"
    assert configuration.reloads.as_json()["earlier"][0]["outcome"] == "rejected"


def reload_if_changed(configuration):
    """Reload the files if they have changed."""
    return configuration.reload_if_changed(config_files.read_stamps(configuration.path))


def test_files_that_have_a_result_already_are_not_reloaded(configuration):
    started(configuration)
    configuration.path.touch()
    assert not reload_if_changed(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert configuration.reload()
    assert not reload_if_changed(configuration)
    configuration.path.write_text("{")
    assert not configuration.reload()
    begun, states = configuration.reloads.begun, list(configuration._notifier.states)
    assert not reload_if_changed(configuration)
    assert (configuration.reloads.begun, configuration._notifier.states) == (begun, states)


def test_changed_files_are_reloaded(configuration):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert reload_if_changed(configuration)
    assert not reload_if_changed(configuration)
    configuration.publish_results(ACTIVE)
    assert configuration._notifier.states == ["reloading", "applied: generation 2, 1 rule (1 active)"]
    assert configuration.reloads.begun == 2


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_an_invalid_content_is_reported_once_and_so_is_its_end(configuration, spoil):
    good = started(configuration).path.read_text()
    spoil(configuration.path)
    for _ in range(3):
        assert not reload_if_changed(configuration)
    configuration.path.write_text(good)
    for _ in range(3):
        assert not reload_if_changed(configuration)
    configuration.publish_results(ACTIVE)
    bad, again = configuration._notifier.states[2:]
    assert bad.startswith("rejected: ")
    assert again == "unchanged: generation 1, 1 rule (1 active)"


def test_files_that_changed_while_they_were_read_are_reloaded_later(configuration):
    started(configuration)
    stamps = config_files.read_stamps(configuration.path)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert not configuration.reload_if_changed(stamps)
    assert configuration.reloads.begun == 1
    assert reload_if_changed(configuration)


@pytest.mark.parametrize(("may", "wanted"), [(True, True), (True, False), (False, True), (False, False)])
def test_files_are_watched_if_the_config_and_the_command_line_allow_it(configuration, may, wanted):
    configuration.path.write_text(GOOD + RULE.format("feed", 5001) + f"watch: {str(wanted).lower()}\n")
    configuration = Configuration(
        configuration.path, FakeNotifier(), StateDirectory(configuration.state_dir), may
    )
    configuration.load(NOW)
    assert configuration.is_watched == (may and wanted)


def look(configuration):
    """The daemon looks at the files, which it does not apply."""
    assert not configuration.reload_if_changed(config_files.read_stamps(configuration.path))
    return configuration.files


@pytest.fixture
def unwatched(configuration):
    configuration._may_watch = False
    return started(configuration)


def test_files_that_are_not_watched_are_compared_with_what_runs(unwatched, caplog):
    running = unwatched.path.read_text()
    assert look(unwatched).state == "running"
    unwatched.path.write_text(running + RULE.format("clock", 5002))
    files = look(unwatched)
    assert (files.state, files.changes.added) == ("differ", ("clock",))
    assert unwatched.config.rules.keys() == {"feed"}
    assert caplog.messages[-1] == (
        "the files differ from what runs (1 added, 0 changed, 0 removed, 1 kept):"
        " `mcrelay reload` applies them"
    )
    unwatched.path.write_text("version: 2")
    assert look(unwatched).state == "invalid"
    assert "a reload or a restart would refuse them" in caplog.messages[-1]
    lines = len(caplog.messages)
    look(unwatched)
    assert len(caplog.messages) == lines
    unwatched.path.unlink()
    assert "no such file" in str(look(unwatched).problems[0])
    unwatched.path.write_text(running)
    assert look(unwatched).state == "running"
    assert caplog.messages[-1] == "the files are the same as what runs"


def test_drop_ins_that_are_not_watched_are_compared_with_what_runs(unwatched):
    folder = unwatched.path.with_suffix(".d")
    folder.mkdir()
    assert look(unwatched).state == "running"
    drop_in = folder / "clock.yaml"
    drop_in.write_text("rules:\n" + RULE.format("clock", 5002))
    assert look(unwatched).changes.added == ("clock",)
    assert unwatched.reload()
    assert unwatched.files.state == "running"
    drop_in.touch()
    assert look(unwatched).state == "running"
    drop_in.unlink()
    assert look(unwatched).changes.removed == ("clock",)
    drop_in.symlink_to("/nonexistent")
    assert look(unwatched).state == "invalid"
    (folder / "late.yml").touch()
    assert look(unwatched).state == "invalid"


def test_every_decision_tells_the_state_of_the_files(configuration):
    started(configuration)
    running = configuration.path.read_text()
    configuration.path.write_text("version: 2")
    configuration.reload()
    assert configuration.files.state == "invalid"
    configuration.path.write_text(running)
    configuration.reload()
    assert configuration.files.state == "running"
