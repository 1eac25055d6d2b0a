"""The watcher hears of changes, and sees them when it hears nothing."""

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
from mcrelay.supervisor.file_watch.watcher import Watcher

PATIENCE = 30.0
SOON = POLL_INTERVAL_S - 1  # seconds in which nobody looks who has not heard anything


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_text("first")
    return path


@pytest.fixture
def watcher(file, caplog):
    """A watcher that has seen the file."""
    caplog.set_level(logging.INFO)
    watcher = Watcher(file)
    watcher.switch(True)
    assert seen(watcher)
    yield watcher
    watcher.switch(False)


def is_readable(watcher, seconds):
    """Wait until the watcher has something to read; this works for any descriptor, as select(2) does not."""
    poller = select.poll()
    poller.register(watcher, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def seen(watcher, seconds=PATIENCE):
    """Do what the loop does until files are to be read, and tell whether that came within this time."""
    deadline = time.monotonic() + seconds
    while (now := time.monotonic()) < deadline:
        if is_readable(watcher, max(0.0, min(watcher.due, deadline) - now)):
            watcher.event_seen()
        if watcher.due <= time.monotonic() and watcher.look():
            return True
    return False


def hears(watcher, file):
    """Tell whether a change is seen before the watcher looks without having heard of it."""
    watcher.look()  # and from now on not for POLL_INTERVAL_S seconds
    file.write_text(f"{time.monotonic()}")
    return seen(watcher, SOON)


def test_a_change_is_heard_of(watcher, file):
    assert hears(watcher, file)
    assert hears(watcher, file)


def test_who_only_reads_is_not_heard(watcher, file):
    watcher.look()
    for _ in range(3):
        file.read_text()
        list(file.parent.iterdir())
    assert not is_readable(watcher, 0.5)


def test_whose_threads_have_ended_listens_anew(watcher, file, caplog):
    watcher._ear._observer.stop()
    watcher._ear._observer.join(PATIENCE)
    file.write_text("unheard")
    assert seen(watcher)
    assert caplog.messages == ["what listened for changes of the files has died; it is made anew"]
    assert hears(watcher, file)
    assert len(caplog.messages) == 1


def test_a_thread_that_breaks_off_is_noticed(watcher, file, caplog, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda failure: None)
    watcher._ear._observer.event_queue.put("this is no event")
    watcher._ear._observer.join(PATIENCE)
    assert seen(watcher, POLL_INTERVAL_S + 1) is False
    assert caplog.messages == ["what listened for changes of the files has died; it is made anew"]
    assert hears(watcher, file)


def test_who_lives_and_hears_nothing_listens_anew(watcher, file, caplog):
    for emitter in watcher._ear._observer.emitters:
        emitter._event_queue = type(emitter._event_queue)()  # a queue that nobody reads
    assert not hears(watcher, file)
    assert seen(watcher)
    deadline = time.monotonic() + PATIENCE
    while not caplog.messages and time.monotonic() < deadline:
        seen(watcher, 0.1)
    assert caplog.messages == ["the files changed, and no news of it came; listening anew"]
    assert hears(watcher, file)


def test_where_nobody_can_listen_changes_are_seen_late_and_it_is_said_once(file, caplog, monkeypatch):
    caplog.set_level(logging.INFO)

    def none_left():
        raise OSError(28, "inotify watch limit reached")

    with monkeypatch.context() as limits:
        limits.setattr(observer, "Observer", none_left)
        watcher = Watcher(file)
        watcher.switch(True)
        assert seen(watcher)
        file.write_text("second")
        assert seen(watcher)
    assert caplog.messages == [
        "changes of the files are seen late, every 5 s: inotify watch limit reached;"
        " raise fs.inotify.max_user_watches with sysctl(8)"
    ]
    seen(watcher, POLL_INTERVAL_S)
    assert caplog.messages[1:] == ["listening for changes of the files again"]
    assert hears(watcher, file)
    watcher.switch(False)


LIMITED = """\
import logging, sys, time
logging.basicConfig(format="%(message)s")
from mcrelay.supervisor.file_watch.watcher import Watcher
watcher = Watcher(sys.argv[1])
watcher.switch(True)
while not watcher.look():
    time.sleep(0.05)
"""


@pytest.mark.parametrize(("limit", "noun"), [("instances", "instance"), ("watches", "watch")])
def test_the_limit_that_stands_in_the_way_is_named(file, limit, noun):
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
        f"changes of the files are seen late, every 5 s: inotify {noun} limit reached;"
        f" raise fs.inotify.max_user_{limit} with sysctl(8)\n",
    )


def test_a_watcher_that_is_switched_off_does_nothing(file):
    watcher = Watcher(file)
    assert (watcher.due, watcher.look()) == (None, None)
    watcher.switch(True)
    assert seen(watcher)
    before = threading.active_count()
    watcher.switch(False)
    assert (watcher.due, watcher.look()) == (None, None)
    watcher.event_seen()
    deadline = time.monotonic() + PATIENCE
    while threading.active_count() >= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() < before
    watcher.switch(True)
    assert seen(watcher)
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


def test_a_thread_that_breaks_off_is_one_line_in_the_log():
    broken = subprocess.run(
        [sys.executable, "-c", BREAKING_OFF],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert broken.stderr == "mcrelay: a thread broke off: KeyError: 'gone'\n"
