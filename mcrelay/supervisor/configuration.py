"""The running configuration, and the decision on each reload (accept, reject, try, confirm, roll back)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mcrelay.config.changes import Changes, compare_configs
from mcrelay.config.model import Config
from mcrelay.config.problems import ConfigError, Problem, SourceLocation
from mcrelay.model.links import LinkTable
from mcrelay.model.routes import RouteAnswers
from mcrelay.model.rule_status import RuleStatus
from mcrelay.reconcile.plan import route_finder
from mcrelay.reload.degraded import describe_degraded
from mcrelay.reload.files_on_disk import FilesOnDisk, FilesState
from mcrelay.reload.requests import Confirm, OperatorRequest, Try
from mcrelay.reload.results import Cause, Outcome, Reloads
from mcrelay.reload.trial import BootTime, StartDecision
from mcrelay.storage import config_files
from mcrelay.storage.section_cache import SectionCache
from mcrelay.storage.state_dir import StateDirectory, StateDirectoryError
from mcrelay.supervisor.history_writer import Acceptance, HistoryWriter
from mcrelay.supervisor.log_summary import count_states
from mcrelay.supervisor.systemd import Notifier
from mcrelay.supervisor.trials import Trials, Version

log = logging.getLogger("mcrelay")

REPEATED = "they were rolled back before, and have not changed since"
HASH_DIGITS = 12  # of a hash that a reason names, as `mcrelay history` shows it

FilesRead = config_files.Contents | ConfigError
"""The contents of the files, or the error that reading them has raised."""


class Configuration:
    """Holds the config that was accepted last. `load` must succeed before any other method is called."""

    config: Config

    def __init__(
        self, path: Path, notifier: Notifier, state_directory: StateDirectory, may_watch: bool = True
    ) -> None:
        self.path = path
        self.state_dir = state_directory.directory
        self._state_directory = state_directory
        self.hash = ""
        self.generation = 0
        self.accepted = 0.0
        """When the config was accepted, in seconds since 1970."""
        self.links = LinkTable()
        """The links of this host, which decide on the route of a rule, and so on what has changed in it."""
        self.find_routes: Callable[[Config, LinkTable], RouteAnswers] = lambda _, __: RouteAnswers()
        """Returns the routes of the outputs of a config, besides those of the config that runs."""
        self.reloads = Reloads()
        self.files = FilesOnDisk()
        """The files as they were read last, compared with the config."""
        self.trials = Trials(path, state_directory)
        self._history = HistoryWriter(state_directory, self.trials)
        self._notifier = notifier
        self._may_watch = may_watch
        self._sections = SectionCache()
        self._last_read_hash = ""  # of the files, accepted or not

    @property
    def is_watched(self) -> bool:
        """Whether changed files are reloaded without a request."""
        return self._may_watch and self.config.watch

    @property
    def state_problem(self) -> str:
        """Why the state directory cannot be used; empty if it can."""
        return self._state_directory.problem

    # Start and reloads. Each method except `load` returns whether another config runs from now on.

    def load(self, now: BootTime) -> None:
        """Accept the files, or the confirmed config if a trial of the files has ended.

        Raises ConfigError if the files are invalid and not on trial.
        """
        self.reloads.begin(Cause.START)
        read, self._last_read_hash = self._read_files()
        decision = self.trials.decide_start(self._last_read_hash, now)
        if decision in (StartDecision.FILES, StartDecision.ON_TRIAL):
            try:
                self._accept(self._compile(read, self._last_read_hash, None), Outcome.STARTED, None)
                return
            except ConfigError as error:
                if decision is StartDecision.FILES:
                    raise
                self._log_problems(error)
                why = f"the files on trial are invalid: {error.problems[0]}"
        elif decision is StartDecision.ROLLED_BACK:
            why = "the trial ended while no daemon ran, without a confirmation"
        else:
            why = REPEATED
        self._roll_back(self._last_read_hash, None, why)

    def reload(self) -> bool:
        """Accept the files as they are now. Invalid files change nothing."""
        return self._decide(Cause.HANGUP, *self._read_files())

    def reload_if_changed(self, stamps: config_files.Stamps) -> bool:
        """Read the files, and accept new content unless their stamps differ from `stamps` after the read.

        If changed files are reloaded on request only, the content is compared with what runs instead.
        """
        read, digest = self._read_files()
        if config_files.read_stamps(self.path) != stamps:  # a write during the read
            return False
        if not self.is_watched:
            self._report_difference(read, digest)
            return False
        return digest != self._last_read_hash and self._decide(Cause.WATCH, read, digest)

    def handle_request(self, request: OperatorRequest, now: BootTime) -> bool:
        """Carry out a request of `try` or `confirm`, or refuse it with a reason."""
        match request:
            case Try(timeout):
                return self._decide(Cause.TRY, *self._read_files(), now.later(timeout))
            case Confirm(generation):  # pragma: no branch: there is no other
                self._confirm(generation)
                return False

    def finish_trial(self) -> bool:
        """Finish the trial, whose time is over, and run the confirmed config again unless it runs already."""
        confirmed = self.trials.confirmed
        if confirmed is None or confirmed.hash == self.hash:
            log.info("the trial has ended; the running configuration is the confirmed one")
            self.trials.end()
            return False
        self._begin(Cause.DEADLINE)
        log.warning(
            "generation %d was not confirmed in time: restoring the confirmed configuration", self.generation
        )
        self._roll_back(self.hash, self.config, f"generation {self.generation} was not confirmed in time")
        return True

    def refuse_unreadable(self, request_file: Path, reason: str) -> None:
        """Refuse the request in a file that cannot be read, so that its client stops waiting."""
        # Neither `try` nor `confirm` can be given as the cause, because the request is unknown.
        self._begin(Cause.HANGUP)
        self._refuse(f"{request_file}: {reason}", "try or confirm")

    def publish_results(self, statuses: Mapping[str, RuleStatus]) -> None:
        """Log the results of the complete reloads, and report them to systemd.

        `statuses` are those of all rules, without the pauses of workers that are about to restart.
        """
        states = count_states(statuses)
        for result in self.reloads.publish(time.time(), statuses):
            outcome = result.outcome.replace("_", " ")
            on, bad = ("; running on", f": {result.problems[0]}") if result.problems else ("", "")
            running = f"generation {result.generation}{self._trial_note()}, {states}"
            running = "; ".join((running, *describe_degraded(result.degraded)))
            level = logging.WARNING if result.degraded else logging.INFO
            log.log(level, "%s%s: %s", outcome, on, running)  # the problems are in the log already
            self._notifier.ready(f"{outcome}{bad}{on}: {running}")

    # The files on disk, which may differ from what runs.

    def _report_difference(self, read: FilesRead, digest: str) -> None:
        """Compare the files with what runs, and log the result if it has changed."""
        before = self.files
        self._compare_files(read, digest)
        if self.files != before:
            level = logging.WARNING if self.files.state is FilesState.INVALID else logging.INFO
            log.log(level, "%s", self.files)

    def _compare_files(self, read: FilesRead, digest: str) -> None:
        """Compare the files with what runs."""
        if digest == self.hash:
            self.files = FilesOnDisk()
            return
        try:
            config = self._compile(read, digest, self.config).config
        except ConfigError as error:
            self.files = FilesOnDisk(FilesState.INVALID, problems=tuple(error.problems))
        else:
            self.files = FilesOnDisk(FilesState.DIFFER, self._compare(self.config, config))

    # The decision.

    def _begin(self, cause: Cause) -> None:
        self._notifier.reloading()
        self.reloads.begin(cause)

    def _read_files(self) -> tuple[FilesRead, str]:
        """Return the contents of the files, or the error of reading them, and a hash of either."""
        try:
            contents = config_files.read(self.path)
        except ConfigError as error:
            return error, config_files.digest([("", str(error).encode())])
        return contents, config_files.digest(contents)

    def _compile(self, read: FilesRead, digest: str, before: Config | None) -> Version:
        """Return the config of the files, with the unchanged rules of `before`; raises ConfigError."""
        if isinstance(read, ConfigError):
            raise read
        return Version(self._sections.compile(read, before), digest, read)

    def _decide(self, cause: Cause, read: FilesRead, digest: str, end: BootTime | None = None) -> bool:
        """Accept or reject the files. With an `end`, put them on trial until then."""
        self._begin(cause)
        self._last_read_hash = digest
        is_new = digest != self.hash
        try:
            version = self._compile(read, digest, self.config) if is_new else None
            if end is not None:  # also with unchanged files, which the operator may change later
                if not is_new and not isinstance(read, ConfigError):
                    running = Version(self.config, self.hash, read)
                    self._history.record_if_missing(self._acceptance(running, Outcome.APPLIED, Changes()))
                self.trials.begin(self.config, self._history.running_entry, digest, end)
        except ConfigError as error:
            self._reject(error)
            return False
        except StateDirectoryError as error:
            self._refuse(f"there is no confirmed configuration to restore: {error}")
            self._compare_files(read, digest)
            return False
        if version is None:
            self._keep_running()
            return False
        self._accept(version, Outcome.APPLIED, self.config)
        return True

    def _accept(self, version: Version, outcome: Outcome, before: Config | None, reason: str = "") -> None:
        """Run a valid config from now on. A rollback has a `reason`."""
        for warning in version.config.warnings:
            log.warning("%s", warning)
        self.config, self.hash, self.accepted = version.config, version.hash, time.time()
        self.generation += 1
        self.files = FilesOnDisk()
        changes = self._compare(before, version.config)
        log.info("generation %d, rules: %s", self.generation, changes)
        self.reloads.record_outcome(outcome, self.generation, changes, reason=reason)
        self._history.record(self._acceptance(version, outcome, changes, reason))

    def _acceptance(
        self, version: Version, outcome: Outcome, changes: Changes, reason: str = ""
    ) -> Acceptance:
        at, cause, is_repeated = self.accepted, self.reloads.cause, reason.endswith(REPEATED)
        return Acceptance(version, self.generation, at, cause, outcome, changes, reason, is_repeated)

    def _compare(self, before: Config | None, after: Config) -> Changes:
        answers = self.find_routes(after, self.links)
        return compare_configs(before, after, route_finder(self.links, answers))

    def _keep_running(self) -> None:
        self.files = FilesOnDisk()
        self._history.remove_rolled_back()
        self.reloads.record_outcome(
            Outcome.UNCHANGED, self.generation, Changes(kept=tuple(self.config.rules))
        )

    def _reject(self, error: ConfigError) -> None:
        self._log_problems(error)
        self.files = FilesOnDisk(FilesState.INVALID, problems=tuple(error.problems))
        self.reloads.record_outcome(Outcome.REJECTED, self.generation, problems=error.problems)

    def _refuse(self, reason: str, verb: str = "") -> None:
        """Refuse the request that has begun. `verb` names what the operator ran, if the cause does not."""
        command = f"mcrelay {verb or self.reloads.cause}"
        log.error("%s: refused: %s", command, reason)
        problem = Problem(SourceLocation(command), "", reason)
        self.reloads.record_outcome(Outcome.REFUSED, self.generation, problems=[problem])

    def _log_problems(self, error: ConfigError) -> None:
        for line in error.lines():
            log.error("%s", line)

    # The end of a trial.

    def _roll_back(self, refused_hash: str, before: Config | None, why: str) -> None:
        """Run the confirmed config. A restart does not run the files with the hash `refused_hash` either."""
        confirmed, trial = self.trials.confirmed, self.trials.trial
        assert confirmed is not None, "a trial has a confirmed config to restore"
        self.trials.trial = None
        reason = f"files {refused_hash[:HASH_DIGITS]}: {why}"
        self._accept(confirmed, Outcome.ROLLED_BACK, before, reason)
        self._compare_files(*self._read_files())
        log.warning(
            "rolled back %s; the running configuration differs from the files:"
            " `mcrelay reload` applies the files",
            reason,
        )
        entry = self._history.running_entry or (trial.confirmed if trial else 0)
        self._history.write_rolled_back(refused_hash, entry)
        self.trials.end()
        self._history.prune_after_trial()

    def _confirm(self, generation: int) -> None:
        self._begin(Cause.CONFIRM)
        if self.trials.trial is None:
            self._refuse("nothing is on trial")
        elif generation != self.generation:
            self._refuse(f"generation {self.generation} is on trial, not {generation}")
        else:
            self._confirm_trial()

    def _confirm_trial(self) -> None:
        try:
            self.trials.confirm()
        except StateDirectoryError as error:
            self._refuse(f"cannot delete the trial file, so that a restart would still roll back: {error}")
            return
        self._history.confirm()
        self.reloads.record_outcome(Outcome.CONFIRMED, self.generation)

    def _trial_note(self) -> str:
        trial = self.trials.trial
        if trial is None:
            return ""
        return f" (on trial until {time.strftime('%H:%M:%S', time.localtime(trial.end.time))})"
