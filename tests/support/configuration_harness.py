"""A configuration with its files, its state directory and a clock that is a number; it can be restarted."""

import os
from dataclasses import replace

from mcrelay.reload.requests import Confirm, Try
from mcrelay.reload.trial import BootTime
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import StateDirectory, entry_numbers, read_entry
from mcrelay.supervisor.configuration import Configuration

NOW = BootTime("this boot", 1000.0, 1_795_000_000.0)
GOOD = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\nrules:\n"
RULE = "  {0}: {{input: {{interface: a, group: 239.1.1.1, port: {1}}}, outputs: [{{interface: b}}]}}\n"


def text(**ports):
    return GOOD + "".join(RULE.format(name, port) for name, port in ports.items())


CONFIRMED, TRIED, OTHER = text(feed=5001), text(clock=5002), text(clock=5002, extra=5003)


class FakeNotifier:
    """Keeps the states of a service that systemd would get."""

    def __init__(self):
        self.states = []

    def reloading(self):
        pass

    def ready(self, status):
        self.states.append(status)


class Daemon:
    """A configuration that is loaded; `restart` is the death of the supervisor and the start of the next."""

    def __init__(self, folder):
        self.file, self.state = folder / "mcrelay.yaml", folder / "state"
        self.now = NOW
        self.file.write_text(CONFIRMED)
        self.start()

    def start(self):
        self.state_directory, self.notifier = StateDirectory(self.state), FakeNotifier()
        self.state_directory.open()
        self.configuration = Configuration(self.file, self.notifier, self.state_directory)
        self.configuration.load(self.now)
        self.publish()

    def restart(self, seconds=0.0, boot="this boot"):
        if self.state_directory._lock is not None:
            os.close(self.state_directory._lock)
        self.now = replace(self.now.later(seconds), boot=boot)
        self.start()

    def publish(self):
        self.configuration.publish_results({})

    def try_(self, content, seconds=120.0):
        self.file.write_text(content)
        has_changed = self.configuration.handle_request(Try(seconds), self.now)
        self.publish()
        return has_changed

    def reload(self, content=None):
        if content is not None:
            self.file.write_text(content)
        has_changed = self.configuration.reload()
        self.publish()
        return has_changed

    def reload_if_changed(self):
        has_changed = self.configuration.reload_if_changed(config_files.read_stamps(self.file))
        self.publish()
        return has_changed

    def confirm(self, generation=None):
        request = Confirm(self.configuration.generation if generation is None else generation)
        assert not self.configuration.handle_request(request, self.now)
        self.publish()

    def wait(self, seconds):
        self.now = self.now.later(seconds)
        if self.configuration.trials.seconds_left(self.now) == 0:
            has_changed = self.configuration.finish_trial()
            self.publish()
            return has_changed
        return None

    @property
    def rules(self):
        return set(self.configuration.config.rules)

    @property
    def result(self):
        return self.configuration.reloads.as_json()

    @property
    def outcome(self):
        return self.result["outcome"]

    @property
    def trial(self):
        return self.configuration.trials.as_json(self.configuration.generation)

    def history(self):
        found = [read_entry(self.state, number) for number in entry_numbers(self.state)]
        return [(one.outcome, one.cause, one.on_trial) for one in found]
