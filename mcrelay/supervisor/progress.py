"""Tracks the last change: whether it is complete and cleaned up, and whether a snapshot with it was sent."""

from __future__ import annotations

from mcrelay.reconcile.reconciler import Reconciler
from mcrelay.reload.results import Reloads


class Progress:
    """Decides when to clean up, when to publish the results of reloads, and when to send a snapshot."""

    def __init__(self, reconciler: Reconciler, reloads: Reloads) -> None:
        self.is_snapshot_outdated = True
        """Whether the state that clients see may have changed since the last snapshot."""
        self._is_cleaned_up = False
        self._reconciler = reconciler
        self._reloads = reloads

    def record_reload(self) -> None:
        """Record a decision on a reload or a request. It has a result, and may begin or end a trial."""
        self.is_snapshot_outdated = True
        self._is_cleaned_up = False

    def record_work(self) -> None:
        """Record a new plan or a command, so that the next cleanup takes place once it is complete."""
        self._is_cleaned_up = False

    def record_change(self) -> None:
        """Record a change that clients can see, so that a new snapshot is due."""
        self.is_snapshot_outdated = True

    def record_cleanup(self) -> None:
        """Record that the cleanup after the last change has run."""
        self._is_cleaned_up = True

    def record_snapshot(self) -> None:
        """Record that the control process was sent a snapshot of the present state."""
        self.is_snapshot_outdated = False

    @property
    def needs_cleanup(self) -> bool:
        """Whether the last change is complete, and the cleanup after it has not run yet."""
        return self._reconciler.is_settled and not self._is_cleaned_up

    @property
    def has_results(self) -> bool:
        """Whether results can be published. The result of a changed config waits until the config runs."""
        return self._reloads.has_unpublished_results and (
            self._is_cleaned_up or not self._reloads.waits_for_workers
        )
