"""The configuration that runs: read, accepted or rejected, and what became of each reload."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from mcrelay.config import Config
from mcrelay.problem import Invalid
from mcrelay.reloads import Outcome, Reloads, changes
from mcrelay.supervisor import files
from mcrelay.supervisor.notify import Notifier

log = logging.getLogger("mcrelay")


class Configuration:
    """The last config that was accepted."""

    config: Config

    def __init__(self, path: Path, notifier: Notifier, may_watch: bool = True) -> None:
        self.path = path
        self.hash = ""
        self.generation = 0
        self.accepted = 0.0
        """When, in seconds since 1970."""
        self.reloads = Reloads()
        self._notifier = notifier
        self._may_watch = may_watch
        self._judged = ""  # the hash of what was read last, accepted or not

    @property
    def is_watched(self) -> bool:
        """Whether changes of the files are to be seen without being told."""
        return self._may_watch and self.config.watch

    def load(self) -> None:
        """Take the files as they are at the start; raises Invalid."""
        self.reloads.begin()
        config, self._judged = files.load(self.path)
        self._accept(None, config, self._judged, Outcome.STARTED)

    def reload(self) -> bool:
        """Take the files as they are now, and tell whether that is anything new. Bad ones change nothing."""
        return self._judge(*self._read())

    def look(self, quiet: files.Stamps) -> bool:
        """Take the files if what they say had no verdict yet and their stamps are still these."""
        read, digest = self._read()
        has_no_writer = files.stamps(self.path) == quiet  # nobody began to write while they were read
        return has_no_writer and digest != self._judged and self._judge(read, digest)

    def _read(self) -> tuple[files.Contents | Invalid, str]:
        """Return what the files say, or why they cannot be read, and a hash of it."""
        try:
            contents = files.read(self.path)
        except Invalid as invalid:
            return invalid, files.digest([("", str(invalid).encode())])
        return contents, files.digest(contents)

    def _judge(self, read: files.Contents | Invalid, digest: str) -> bool:
        self._notifier.reloading()
        self.reloads.begin()
        self._judged = digest
        if digest == self.hash:
            log.info("unchanged: generation %d runs on", self.generation)
            self.reloads.decided(Outcome.UNCHANGED, self.generation)
            return False
        try:
            if isinstance(read, Invalid):
                raise read
            self._accept(self.config, files.config_of(read, self.config), digest, Outcome.APPLIED)
        except Invalid as invalid:
            self._reject(invalid)
            return False
        return True

    def settled(self, states: str) -> None:
        """All that was accepted runs: say what became of the reloads. `states` counts the rules by state."""
        for verdict in self.reloads.settled(time.time()):
            bad = f": {verdict.problems[0]}; running on" if verdict.problems else ""
            what = f"{verdict.outcome}{bad}"
            log.info("%s: %s", what, states)
            self._notifier.ready(f"{what}: generation {verdict.generation}, {states}")

    def _accept(self, before: Config | None, config: Config, digest: str, outcome: Outcome) -> None:
        """Take a config that is known to be good."""
        for warning in config.warnings:
            log.warning("%s", warning)
        self.config, self.hash, self.accepted = config, digest, time.time()
        self.generation += 1
        changed = changes(before, config)
        log.info("generation %d, rules: %s", self.generation, changed)
        self.reloads.decided(outcome, self.generation, changed)

    def _reject(self, invalid: Invalid) -> None:
        for line in invalid.lines():
            log.error("%s", line)
        log.error("rejected, problems: %d; generation %d runs on", len(invalid.problems), self.generation)
        self.reloads.decided(Outcome.REJECTED, self.generation, problems=invalid.problems)
