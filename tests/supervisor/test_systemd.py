"""Notifications reach systemd, and do nothing without it."""

import os
import socket
import time
from contextlib import suppress

import pytest

from mcrelay.supervisor.systemd import MAX_UNSENT, Notifier


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


def fill(systemd):
    """Fill the queue of systemd, and return how many datagrams it took."""
    taken = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
        other.setblocking(False)
        while other.sendto(b"X=1", systemd.getsockname()):
            taken += 1
    return taken


def test_a_systemd_that_reads_nothing_gets_the_notifications_later_and_in_their_order(systemd):
    taken = fill(systemd)
    notifier = Notifier()
    notifier.reloading()
    notifier.ready("applied")
    notifier.alive()
    assert notifier.due > time.monotonic()
    notifier.send_unsent()
    assert notifier.due is not None
    assert [systemd.recv(1000) for _ in range(taken)] == [b"X=1"] * taken
    notifier.send_unsent()
    assert systemd.recv(1000).startswith(b"RELOADING=1")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=applied"
    assert notifier.due is None
    notifier.alive()
    assert systemd.recv(1000) == b"WATCHDOG=1", "the one before was not needed"


def test_of_endless_notifications_that_nobody_reads_the_oldest_are_lost(systemd):
    taken = fill(systemd)
    notifier = Notifier()
    for number in range(MAX_UNSENT + 1):
        notifier.ready(f"reload {number}")
    for _ in range(taken):
        systemd.recv(1000)
    notifier.send_unsent()
    assert systemd.recv(1000) == b"READY=1\nSTATUS=reload 1"


def test_a_systemd_that_has_gone_is_no_error(systemd):
    notifier = Notifier()
    systemd.close()
    notifier.ready("started")
    assert notifier.due is None


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
