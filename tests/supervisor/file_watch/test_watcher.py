"""The watcher finds changes by events, and by regular checks if no event comes."""

import logging
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mcrelay.reload.debounce import POLL_INTERVAL_S
from mcrelay.supervisor.file_watch import observer
from mcrelay.supervisor.file_watch import watcher as watcher_module
from mcrelay.supervisor.file_watch.watcher import Watcher

TIMEOUT_S = 30.0
SOON = POLL_INTERVAL_S - 1  # seconds without a regular check


class Clock:
    """The clock of the watcher, which a test can let pass at once."""

    def __init__(self):
        self._passed = 0.0

    def monotonic(self):
        return time.monotonic() + self._passed

    def pass_until(self, then):
        self._passed += max(0.0, then - self.monotonic())


clock = Clock()


@pytest.fixture(autouse=True)
def _watchers_use_this_clock(monkeypatch):
    monkeypatch.setattr(watcher_module, "time", clock)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_text("first")
    return path


@pytest.fixture
def watcher(file, caplog):
    """A watcher that has read the file once."""
    caplog.set_level(logging.INFO)
    watcher = Watcher(file)
    watcher.switch(True)
    assert finds_change(watcher)
    yield watcher
    watcher.switch(False)


def is_readable(watcher, seconds):
    """Wait until the watcher has something to read; this works for any descriptor, as select(2) does not."""
    poller = select.poll()
    poller.register(watcher, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def finds_change(watcher, seconds=TIMEOUT_S):
    """Do what the loop does until the files should be read; return whether that was within `seconds`."""
    deadline = clock.monotonic() + seconds
    while (now := clock.monotonic()) < deadline:
        if is_readable(watcher, max(0.0, min(watcher.due, deadline) - now)):
            watcher.record_event()
        if watcher.due <= clock.monotonic() and watcher.check():
            return True
    return False


def finds_change_without_event(watcher, seconds=TIMEOUT_S):
    """Do the same as `finds_change`, and let the time pass at once while no event comes."""
    deadline = clock.monotonic() + seconds
    while clock.monotonic() < deadline:
        if is_readable(watcher, 0.1):
            watcher.record_event()
        else:
            clock.pass_until(min(watcher.due, deadline))
        if watcher.due <= clock.monotonic() and watcher.check():
            return True
    return False


def gets_event(watcher, file):
    """Return whether a change is found before the next regular check."""
    watcher.check()  # the next regular check comes after POLL_INTERVAL_S seconds
    file.write_text(f"{time.monotonic()}")
    return finds_change(watcher, SOON)


def test_a_change_is_found_by_its_event(watcher, file):
    assert gets_event(watcher, file)
    assert gets_event(watcher, file)


def test_reading_the_files_causes_no_event(watcher, file):
    watcher.check()
    for _ in range(3):
        file.read_text()
        list(file.parent.iterdir())
    assert not is_readable(watcher, 0.5)


def test_an_observer_whose_threads_have_ended_is_replaced(watcher, file, caplog):
    watcher._observer._observer.stop()
    watcher._observer._observer.join(TIMEOUT_S)
    file.write_text("without an event")
    assert finds_change_without_event(watcher)
    assert caplog.messages == ["the thread that watches the files has died; starting a new one"]
    assert gets_event(watcher, file)
    assert len(caplog.messages) == 1


def test_an_observer_whose_thread_raised_an_exception_is_replaced(watcher, file, caplog, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda failure: None)
    watcher._observer._observer.event_queue.put("this is no event")
    watcher._observer._observer.join(TIMEOUT_S)
    assert finds_change_without_event(watcher, POLL_INTERVAL_S + 1) is False
    assert caplog.messages == ["the thread that watches the files has died; starting a new one"]
    assert gets_event(watcher, file)


def test_an_observer_that_misses_events_is_replaced(watcher, file, caplog):
    for emitter in watcher._observer._observer.emitters:
        emitter._event_queue = type(emitter._event_queue)()  # a queue that nobody reads
    watcher.check()
    file.write_text("without an event")
    assert not finds_change_without_event(watcher, SOON)
    assert finds_change_without_event(watcher)
    finds_change_without_event(watcher, TIMEOUT_S)
    assert caplog.messages == ["the files changed without an inotify event; watching them anew"]
    assert gets_event(watcher, file)


def test_without_an_observer_changes_are_found_late_with_one_warning(file, caplog, monkeypatch):
    caplog.set_level(logging.INFO)

    def none_left():
        raise OSError(28, "inotify watch limit reached")

    with monkeypatch.context() as limits:
        limits.setattr(observer, "Observer", none_left)
        watcher = Watcher(file)
        watcher.switch(True)
        assert finds_change(watcher)
        file.write_text("second")
        assert not finds_change_without_event(watcher, SOON)
        assert finds_change_without_event(watcher)
    assert caplog.messages == [
        "cannot watch the files; checking them every 5 s: inotify watch limit reached;"
        " raise fs.inotify.max_user_watches with sysctl(8)"
    ]
    finds_change_without_event(watcher, POLL_INTERVAL_S)
    assert caplog.messages[1:] == ["watching the files again"]
    assert gets_event(watcher, file)
    watcher.switch(False)


LIMITED = """\
import logging, sys, time
logging.basicConfig(format="%(message)s")
from mcrelay.supervisor.file_watch.watcher import Watcher
watcher = Watcher(sys.argv[1])
watcher.switch(True)
while not watcher.check():
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("limit", "noun"), [("instances", "instance"), ("watches", "watch")])
def test_the_warning_names_the_limit_to_raise(file, limit, noun):
    lowered = f'echo 0 > /proc/sys/user/max_inotify_{limit}; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", lowered, "sh"]
    limited = subprocess.run(
        [*command, sys.executable, "-c", LIMITED, file],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert (limited.returncode, limited.stderr) == (
        0,
        f"cannot watch the files; checking them every 5 s: inotify {noun} limit reached;"
        f" raise fs.inotify.max_user_{limit} with sysctl(8)\n",
    )


def test_a_watcher_that_is_switched_off_does_nothing(file):
    watcher = Watcher(file)
    assert (watcher.due, watcher.check()) == (None, None)
    watcher.switch(True)
    assert finds_change(watcher)
    before = threading.active_count()
    watcher.switch(False)
    assert (watcher.due, watcher.check()) == (None, None)
    watcher.record_event()
    deadline = time.monotonic() + TIMEOUT_S
    while threading.active_count() >= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() < before
    watcher.switch(True)
    assert finds_change(watcher)
    watcher.switch(False)


BREAKING_OFF = """\
import logging, threading
from mcrelay.cli.run import _log_to_stderr
_log_to_stderr()
logging.getLogger("watchdog.observers").error("nothing that a user could act on")
thread = threading.Thread(target=lambda: {}["gone"])
thread.start()
thread.join()
"""


def test_an_exception_in_a_thread_is_one_line_in_the_log():
    broken = subprocess.run(
        [sys.executable, "-c", BREAKING_OFF],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert broken.stderr == "mcrelay: a thread ended with an error: KeyError: 'gone'\n"
