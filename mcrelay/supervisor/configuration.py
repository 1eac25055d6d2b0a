"""The configuration that runs: read, accepted or rejected, on trial or not, and what each reload came to."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path

from mcrelay.config.changes import Changes, compare_configs
from mcrelay.config.model import Config, Rule
from mcrelay.config.problems import ConfigError, Problem, SourceLocation
from mcrelay.model.links import LinkTable
from mcrelay.model.state import Route
from mcrelay.reconcile.plan import route_of
from mcrelay.reload.history import Entry
from mcrelay.reload.requests import Confirm, OperatorRequest, Try
from mcrelay.reload.results import Cause, Outcome, Reloads
from mcrelay.reload.trial import BootTime, RolledBackContent, StartDecision
from mcrelay.storage import config_files
from mcrelay.storage.state_dir import StateDirectory, StateDirectoryError
from mcrelay.supervisor.systemd import Notifier
from mcrelay.supervisor.trials import Trials, Version

log = logging.getLogger("mcrelay")


class Configuration:
    """The last config that was accepted."""

    config: Config

    def __init__(
        self, path: Path, notifier: Notifier, archive: StateDirectory, may_watch: bool = True
    ) -> None:
        self.path = path
        self.state_dir = archive.directory
        self.hash = ""
        self.generation = 0
        self.accepted = 0.0
        """When, in seconds since 1970."""
        self.links = LinkTable()
        """The links of this host as last read: they decide what a change of the files changes for a rule."""
        self.reloads = Reloads()
        self.trials = Trials(path, archive)
        self._notifier = notifier
        self._archive = archive
        self._may_watch = may_watch
        self._judged = ""  # the hash of what was read last, accepted or not
        self._number: int | None = None  # what runs, in the history

    @property
    def is_watched(self) -> bool:
        """Whether changes of the files are to be seen without being told."""
        return self._may_watch and self.config.watch

    # The start, and what happens later, which tells whether something else runs then.

    def load(self, now: BootTime) -> None:
        """Take the files as they are, or what was confirmed if they are not to run; raises Invalid."""
        self.reloads.begin(Cause.START)
        read, self._judged = self._read()
        found = self.trials.found(self._judged, now)
        if found in (StartDecision.FILES, StartDecision.ON_TRIAL):
            try:
                self._accept(self._version(read, self._judged, None), Outcome.STARTED, None)
                return
            except ConfigError as invalid:
                if found is StartDecision.FILES:
                    raise
                self._log(invalid)
        self._roll_back(self._judged, None)

    def reload(self) -> bool:
        """Take the files as they are now. Bad ones change nothing."""
        return self._judge(Cause.HANGUP, *self._read())

    def look(self, quiet: config_files.Stamps) -> bool:
        """Take the files if what they say had no verdict yet and their stamps are still these."""
        read, digest = self._read()
        has_no_writer = (
            config_files.read_stamps(self.path) == quiet
        )  # nobody began to write while they were read
        return has_no_writer and digest != self._judged and self._judge(Cause.WATCH, read, digest)

    def asked(self, wish: OperatorRequest, now: BootTime) -> bool:
        """Do what somebody wishes, or say why that cannot be had."""
        match wish:
            case Try(timeout):
                return self._judge(Cause.TRY, *self._read(), now.later(timeout))
            case Confirm(generation):  # pragma: no branch: there is no other
                self._confirm(generation)
                return False

    def trial_ended(self) -> bool:
        """The time of the trial is over: what was confirmed runs again."""
        confirmed = self.trials.confirmed
        if confirmed is None or confirmed.hash == self.hash:
            log.info("the trial is over, and what runs was confirmed before it")
            self.trials.end()
            return False
        self._begin(Cause.DEADLINE)
        log.warning("nobody confirmed generation %d: what was confirmed before runs again", self.generation)
        self._roll_back(self.hash, self.config)
        return True

    def refuse(self, cause: Cause, why: str) -> None:
        """What somebody wishes cannot be had."""
        self._begin(cause)
        self._decline(why)

    def settled(self, states: str) -> None:
        """All that was accepted runs: say what became of the reloads. `states` counts the rules by state."""
        for verdict in self.reloads.publish(time.time()):
            outcome = verdict.outcome.replace("_", " ")
            on, bad = ("; running on", f": {verdict.problems[0]}") if verdict.problems else ("", "")
            running = f"generation {verdict.generation}{self._on_trial()}, {states}"
            log.info("%s%s: %s", outcome, on, running)  # what is bad has been logged, all of it
            self._notifier.ready(f"{outcome}{bad}{on}: {running}")

    # The parts of it.

    def _begin(self, cause: Cause) -> None:
        self._notifier.reloading()
        self.reloads.begin(cause)

    def _read(self) -> tuple[config_files.Contents | ConfigError, str]:
        """Return what the files say, or why they cannot be read, and a hash of it."""
        try:
            contents = config_files.read(self.path)
        except ConfigError as invalid:
            return invalid, config_files.digest([("", str(invalid).encode())])
        return contents, config_files.digest(contents)

    def _version(
        self, read: config_files.Contents | ConfigError, digest: str, before: Config | None
    ) -> Version:
        if isinstance(read, ConfigError):
            raise read
        return Version(config_files.compile_contents(read, before), digest, read)

    def _judge(
        self,
        cause: Cause,
        read: config_files.Contents | ConfigError,
        digest: str,
        end: BootTime | None = None,
    ) -> bool:
        """Decide on the files; with an `end`, they are on trial until then."""
        self._begin(cause)
        self._judged = digest
        is_new = digest != self.hash
        try:
            version = self._version(read, digest, self.config) if is_new else None
            if end is not None:  # of files that are unchanged, too: the change may be to come
                if not is_new:
                    self._make_up_for_a_full_disk(read)
                self.trials.begin(self.config, self._number, digest, end)
        except ConfigError as invalid:
            self._reject(invalid)
            return False
        except StateDirectoryError as error:
            self._decline(f"there is nothing to go back to: {error}")
            return False
        if version is None:
            self._keep_running()
            return False
        self._accept(version, Outcome.APPLIED, self.config)
        return True

    def _accept(self, version: Version, outcome: Outcome, before: Config | None) -> None:
        """Take a config that is known to be good."""
        for warning in version.config.warnings:
            log.warning("%s", warning)
        self.config, self.hash, self.accepted = version.config, version.hash, time.time()
        self.generation += 1
        changed = compare_configs(before, version.config, self._route_of)
        log.info("generation %d, rules: %s", self.generation, changed)
        self.reloads.decided(outcome, self.generation, changed)
        self._write_down(version, outcome, changed)

    def _route_of(self, config: Config, rule: Rule) -> Route | None:
        return route_of(rule, config, self.links)

    def _roll_back(self, refused: str, before: Config | None) -> None:
        """Run what was confirmed, and not again by itself what is `refused`."""
        confirmed, trial = self.trials.confirmed, self.trials.trial
        assert confirmed is not None, "a trial has something to go back to"
        self.trials.trial = None
        self._accept(confirmed, Outcome.ROLLED_BACK, before)
        log.warning("rolled back: the files are not what runs; `mcrelay reload` takes them all the same")
        number = self._number or (trial.confirmed if trial else 0)
        self._keep_refused(refused, number)
        self.trials.end()
        self._archive.prune(needed=None)

    def _confirm(self, generation: int) -> None:
        self._begin(Cause.CONFIRM)
        if self.trials.trial is None:
            self._decline("nothing is on trial")
        elif generation != self.generation:
            self._decline(f"generation {self.generation} is on trial, not {generation}")
        else:
            self._keep_what_was_tried(generation)

    def _keep_what_was_tried(self, generation: int) -> None:
        try:
            self.trials.confirm()
        except StateDirectoryError as error:
            self._decline(f"a restart would roll it back all the same: {error}")
            return
        if self._number is not None:
            self._archive.confirm(self._number)
        self.reloads.decided(Outcome.CONFIRMED, generation)

    def _keep_running(self) -> None:
        self._archive.forget_rolled_back()
        self.reloads.decided(Outcome.UNCHANGED, self.generation, Changes(kept=tuple(self.config.rules)))

    def _reject(self, invalid: ConfigError) -> None:
        self._log(invalid)
        self.reloads.decided(Outcome.REJECTED, self.generation, problems=invalid.problems)

    def _decline(self, why: str) -> None:
        cause = self.reloads.cause
        log.error("%s: refused: %s", cause, why)
        problem = Problem(SourceLocation(f"mcrelay {cause}"), "", why)
        self.reloads.decided(Outcome.REFUSED, self.generation, problems=[problem])

    def _log(self, invalid: ConfigError) -> None:
        for line in invalid.lines():
            log.error("%s", line)

    def _on_trial(self) -> str:
        trial = self.trials.trial
        if trial is None:
            return ""
        return f" (on trial until {time.strftime('%H:%M:%S', time.localtime(trial.end.time))})"

    # The state directory.

    def _write_down(self, version: Version, outcome: Outcome, changed: Changes) -> None:
        """Let the history, and a successor, know what runs now."""
        is_rollback = outcome is Outcome.ROLLED_BACK  # whose successor goes back to what was confirmed, too
        if not is_rollback:
            self._archive.forget_rolled_back()
            self.trials.accepted(version.hash)
        latest = self._archive.latest() if self.reloads.cause is Cause.START else None
        if latest and latest.hash == version.hash:  # a restart is no change
            self._number = latest.number
            return
        self._number = self._archive.add(partial(self._entry, version, outcome, changed))
        if not is_rollback:
            trial = self.trials.trial
            self._archive.prune(needed=trial.confirmed if trial else None)

    def _make_up_for_a_full_disk(self, running: config_files.Contents | ConfigError) -> None:
        """Write down what runs where that could not be done when it began to."""
        if self._number is None and not isinstance(running, ConfigError):
            version = Version(self.config, self.hash, running)
            self._number = self._archive.add(partial(self._entry, version, Outcome.APPLIED, Changes()))

    def _entry(self, version: Version, outcome: Outcome, changed: Changes, number: int) -> Entry:
        return Entry(
            number=number,
            generation=self.generation,
            time=self.accepted,
            hash=version.hash,
            outcome=str(outcome),
            cause=str(self.reloads.cause),
            on_trial=self.trials.trial is not None,
            changes=changed.as_json(),
            contents=tuple((name, content.decode()) for name, content in version.contents),
        )

    def _keep_refused(self, refused: str, number: int) -> None:
        try:
            self._archive.keep_rolled_back(RolledBackContent(refused, number))
        except StateDirectoryError as error:
            log.error("a restart will take the files as they are: %s", error)
