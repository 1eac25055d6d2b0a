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

    def __init__(self, path: Path, notifier: Notifier) -> None:
        self.path = path
        self.hash = ""
        self.generation = 0
        self.accepted = 0.0
        """When, in seconds since 1970."""
        self.reloads = Reloads()
        self._notifier = notifier

    def load(self) -> None:
        """Take the files as they are at the start; raises Invalid."""
        self.reloads.begin()
        config, digest = files.load(self.path)
        self._accept(None, config, digest, Outcome.STARTED)

    def reload(self) -> bool:
        """Take the files as they are now, and tell whether that is anything new. Bad ones change nothing."""
        self._notifier.reloading()
        self.reloads.begin()
        try:
            contents = files.read(self.path)
            if (digest := files.digest(contents)) == self.hash:
                log.info("unchanged: generation %d runs on", self.generation)
                self.reloads.decided(Outcome.UNCHANGED, self.generation)
                return False
            self._accept(self.config, files.config_of(contents), digest, Outcome.APPLIED)
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
