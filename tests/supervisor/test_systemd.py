"""Notifications reach systemd, and do nothing without it."""

import os
import socket
import threading
import time
from contextlib import suppress

import pytest

from mcrelay.supervisor.systemd import Notifier


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The socket on which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_every_message_is_one_datagram(systemd):
    notifier = Notifier()
    notifier.ready("started: generation 1, 3 rules")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=started: generation 1, 3 rules"
    notifier.stopping()
    assert systemd.recv(1000) == b"STOPPING=1\nSTATUS=stopping"
    notifier.alive()
    assert systemd.recv(1000) == b"WATCHDOG=1"


def test_a_reload_begins_with_the_time(systemd):
    before = time.monotonic_ns() // 1000
    Notifier().reloading()
    after = time.monotonic_ns() // 1000
    first, second = systemd.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, value = second.split("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= after


def test_a_status_is_one_line_of_ascii_and_cannot_forge_another(systemd):
    Notifier().ready("rejected: Gr\u00fc\u00dfe\nMAINPID=1\r\n\tand more \U0001f600")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=rejected: Gr??e MAINPID=1 and more ?"


def test_a_systemd_that_reads_nothing_is_waited_for_only_briefly(systemd):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                other.sendto(b"X=1", systemd.getsockname())
    notifier = Notifier()
    telling = threading.Thread(target=notifier.alive, daemon=True)
    telling.start()
    telling.join(30)
    assert not telling.is_alive()


def test_without_systemd_notifications_do_nothing(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("started")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()


@pytest.mark.parametrize(
    ("environment", "pause"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval_is_half_of_what_systemd_allows(monkeypatch, environment, pause):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Notifier().watchdog_interval == pause
