"""Cleanup and results wait until the last change is complete."""

from types import SimpleNamespace

import pytest

from mcrelay.config.changes import Changes
from mcrelay.reload.results import Cause, Outcome, Reloads
from mcrelay.supervisor.progress import Progress


@pytest.fixture
def reconciler():
    return SimpleNamespace(is_settled=True)


@pytest.fixture
def reloads():
    return Reloads()


@pytest.fixture
def progress(reconciler, reloads):
    return Progress(reconciler, reloads)


def test_a_cleanup_waits_until_the_work_is_complete(progress, reconciler):
    reconciler.is_settled = False
    assert not progress.needs_cleanup
    reconciler.is_settled = True
    assert progress.needs_cleanup
    progress.record_cleanup()
    assert not progress.needs_cleanup
    progress.record_work()
    assert progress.needs_cleanup


def test_the_result_of_a_new_config_waits_for_the_cleanup(progress, reloads):
    progress.record_cleanup()
    assert not progress.has_results
    reloads.begin(Cause.HANGUP)
    reloads.record_outcome(Outcome.APPLIED, 1, Changes())
    progress.record_reload()
    assert not progress.has_results
    progress.record_cleanup()
    assert progress.has_results


def test_a_result_that_changes_nothing_waits_for_nothing(progress, reloads):
    reloads.begin(Cause.HANGUP)
    reloads.record_outcome(Outcome.UNCHANGED, 1)
    progress.record_reload()
    assert progress.has_results


def test_a_snapshot_is_outdated_until_it_is_sent(progress):
    assert progress.is_snapshot_outdated
    progress.record_snapshot()
    assert not progress.is_snapshot_outdated
    progress.record_change()
    assert progress.is_snapshot_outdated
    progress.record_snapshot()
    progress.record_reload()
    assert progress.is_snapshot_outdated
    progress.record_snapshot()
    progress.record_work()
    assert not progress.is_snapshot_outdated
