"""What is under way: whether the last change is complete, cleaned up, and known to the control process."""

from __future__ import annotations

from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reload.results import Reloads


class Progress:
    """Says when to clean up, when to publish the results of reloads, and when to send a snapshot."""

    def __init__(self, reconciler: Reconciler, reloads: Reloads) -> None:
        self.is_snapshot_outdated = True
        """Whether something that clients see may have changed since the last snapshot."""
        self._is_cleaned_up = False
        self._reconciler = reconciler
        self._reloads = reloads

    def reload_handled(self) -> None:
        """A reload or a request was decided on: its result is new, and a trial may have begun or ended."""
        self.is_snapshot_outdated = True
        self._is_cleaned_up = False

    def work_began(self) -> None:
        """The plan changed, or a command was issued: there is something to clean up once it is complete."""
        self._is_cleaned_up = False

    def state_changed(self) -> None:
        """Something happened that clients see."""
        self.is_snapshot_outdated = True

    def cleaned_up(self) -> None:
        """The cleanup was done."""
        self._is_cleaned_up = True

    def snapshot_sent(self) -> None:
        """The control process was sent all that clients see."""
        self.is_snapshot_outdated = False

    @property
    def needs_cleanup(self) -> bool:
        """Whether the last change is complete and was not cleaned up yet."""
        return self._reconciler.is_settled and not self._is_cleaned_up

    @property
    def has_results(self) -> bool:
        """Whether results can be published. The result of a changed config waits until the config runs."""
        return self._reloads.has_unpublished_results and (
            self._is_cleaned_up or not self._reloads.waits_for_workers
        )
