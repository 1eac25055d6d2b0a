"""A configuration is accepted or rejected as a whole, and whoever asked is told."""

import logging

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import StateDirectory
from mcrelay.supervisor.configuration import Configuration

NOW = BootTime("this boot", 1000.0, 1_795_000_000.0)
GOOD = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\nrules:\n"
RULE = "  {0}: {{input: {{interface: a, group: 239.1.1.1, port: {1}}}, outputs: [{{interface: b}}]}}\n"


class Systemd:
    """What systemd would be told."""

    def __init__(self):
        self.said = []

    def reloading(self):
        self.said.append("reloading")

    def ready(self, status):
        self.said.append(status)


@pytest.fixture
def configuration(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "mcrelay.yaml").write_text(GOOD + RULE.format("feed", 5001))
    archive = StateDirectory(tmp_path / "state")
    archive.open()
    return Configuration(tmp_path / "mcrelay.yaml", Systemd(), archive)


def started(configuration):
    configuration.load(NOW)
    configuration.settled("1 rule (1 active)")
    configuration._notifier.said.clear()
    return configuration


def test_a_start_is_the_first_reload(configuration):
    configuration.load(NOW)
    assert (configuration.generation, configuration.reloads.begun) == (1, 1)
    assert configuration.config.rules.keys() == {"feed"}
    assert configuration.accepted > 1_700_000_000
    configuration.settled("1 rule (1 active)")
    assert configuration._notifier.said == ["started: generation 1, 1 rule (1 active)"]
    assert configuration.reloads.as_json()["outcome"] == "started"


def test_a_bad_file_at_the_start_is_no_configuration(configuration):
    configuration.path.write_text("version: 2")
    with pytest.raises(ConfigError):
        configuration.load(NOW)
    assert configuration.generation == 0


def test_an_unchanged_file_changes_nothing_and_says_so(configuration):
    before = started(configuration).config
    assert not configuration.reload()
    configuration.settled("1 rule (1 active)")
    assert configuration.config is before
    assert configuration._notifier.said == ["reloading", "unchanged: generation 1, 1 rule (1 active)"]
    assert configuration.reloads.as_json()["changes"]["kept"] == 1


def test_a_changed_file_is_the_next_generation(configuration, caplog):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert configuration.reload()
    assert configuration.generation == 2
    configuration.settled("1 rule (1 active)")
    assert configuration._notifier.said[-1] == "applied: generation 2, 1 rule (1 active)"
    told = configuration.reloads.as_json()
    assert (told["changes"]["added"], told["changes"]["removed"]) == (["clock"], ["feed"])
    assert "generation 2, rules: 1 added, 0 changed, 1 removed, 0 kept" in caplog.text


def test_a_bad_file_changes_nothing_and_is_told_with_its_lines(configuration, caplog):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("feed", 70000))
    assert not configuration.reload()
    configuration.settled("1 rule (1 active)")
    assert configuration.generation == 1
    told = configuration.reloads.as_json()
    assert (told["outcome"], told["generation"], len(told["problems"])) == ("rejected", 1, 1)
    assert told["problems"][0]["line"] == 4
    assert told["lines"][-1].strip() == "^"
    said = configuration._notifier.said[-1]
    assert said.startswith(f"rejected: {configuration.path}:4:")
    assert said.endswith("running on: generation 1, 1 rule (1 active)")
    assert caplog.messages[-1] == "rejected; running on: generation 1, 1 rule (1 active)"
    assert sum("70000" in line for line in caplog.messages) == 2  # the problem, and its line


def test_a_file_that_is_good_again_as_it_was_is_unchanged(configuration):
    started(configuration)
    good = configuration.path.read_text()
    configuration.path.write_text("{")
    assert not configuration.reload()
    configuration.path.write_text(good)
    assert not configuration.reload()
    configuration.settled("")
    assert configuration.reloads.as_json()["outcome"] == "unchanged"
    assert configuration.reloads.as_json()["earlier"][0]["outcome"] == "rejected"


def look(configuration):
    """Look at files that are quiet."""
    return configuration.look(config_files.read_stamps(configuration.path))


def test_a_look_at_files_that_were_judged_already_is_no_reload(configuration):
    started(configuration)
    configuration.path.touch()
    assert not look(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert configuration.reload()
    assert not look(configuration)
    configuration.path.write_text("{")
    assert not configuration.reload()
    begun, said = configuration.reloads.begun, list(configuration._notifier.said)
    assert not look(configuration)
    assert (configuration.reloads.begun, configuration._notifier.said) == (begun, said)


def test_a_look_at_changed_files_is_a_reload(configuration):
    started(configuration)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert look(configuration)
    assert not look(configuration)
    configuration.settled("1 rule (1 active)")
    assert configuration._notifier.said == ["reloading", "applied: generation 2, 1 rule (1 active)"]
    assert configuration.reloads.begun == 2


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_a_look_tells_each_bad_content_once_and_that_it_is_good_again(configuration, spoil):
    good = started(configuration).path.read_text()
    spoil(configuration.path)
    for _ in range(3):
        assert not look(configuration)
    configuration.path.write_text(good)
    for _ in range(3):
        assert not look(configuration)
    configuration.settled("1 rule (1 active)")
    bad, again = configuration._notifier.said[2:]
    assert bad.startswith("rejected: ")
    assert again == "unchanged: generation 1, 1 rule (1 active)"


def test_files_that_changed_while_they_were_read_wait_for_the_next_look(configuration):
    started(configuration)
    quiet = config_files.read_stamps(configuration.path)
    configuration.path.write_text(GOOD + RULE.format("clock", 5002))
    assert not configuration.look(quiet)
    assert configuration.reloads.begun == 1
    assert look(configuration)


@pytest.mark.parametrize(("may", "wanted"), [(True, True), (True, False), (False, True), (False, False)])
def test_files_are_watched_where_they_and_the_command_line_say_so(configuration, may, wanted):
    configuration.path.write_text(GOOD + RULE.format("feed", 5001) + f"watch: {str(wanted).lower()}\n")
    configuration = Configuration(configuration.path, Systemd(), configuration._archive, may)
    configuration.load(NOW)
    assert configuration.is_watched == (may and wanted)
