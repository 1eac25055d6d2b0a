"""The error of a limit that is reached names the setting and a value; other rules run."""

import errno
import gc
import os
import resource
import socket
import sys
from contextlib import contextmanager

import pytest

from mcrelay.model.actions import Acquire, Open, Release
from mcrelay.model.state import DesiredState, Egress, Membership, WorkerState
from mcrelay.supervisor import limits
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from tests.netns.test_scale import stream

GROUPS = [f"239.1.{number // 250}.{1 + number % 250}" for number in range(16_000)]


@pytest.fixture
def relay(studio):
    """The relay host, entered: what the test opens is there."""
    with studio.relay.enter_namespace():
        yield studio.relay


@pytest.fixture
def link(relay):
    return socket.if_nametoindex("eth0")


@contextmanager
def room_for(count):
    """Limit this process to `count` sockets more than it has, and the reserve."""
    gc.collect()
    room = count + limits.RESERVE
    free = [os.dup(0) for _ in range(room)]
    while free[-1] - free[-room] >= room:  # a descriptor that an earlier test left open lies between
        free.append(os.dup(0))
    for descriptor in free[-room:]:
        os.close(descriptor)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1] + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in free[:-room]:
            os.close(descriptor)


NEEDED = {"userspace": 117, "kernel": 138}  # open files for a thousand rules


@pytest.fixture
def frugal(tmp_path, plane):
    """A Python that may have four files less open than a thousand rules need."""
    python = tmp_path / "frugal-python"
    python.write_text(f'#!/bin/sh\nulimit -n {NEEDED[plane] - 4}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return str(python)


def joined(link, count):
    """Sockets that have joined so many groups, the state that they were to reach, and why some failed."""
    memberships = [Membership(link, group) for group in GROUPS[:count]]
    state, sockets = DesiredState(resources=frozenset(memberships)), Sockets()
    sockets.warn_if_too_many(state)
    return sockets, state, sockets.perform([Acquire(membership) for membership in memberships])


def one(failed):
    """The one reason that all failures have, without the group that it names."""
    (reason,) = {reason.split(" on device ")[1] for reason in failed.values()}
    return reason


def test_too_many_memberships_for_the_limit_of_open_files_name_the_limit_that_is_needed(link, caplog):
    with room_for(10):
        _, state, failed = joined(link, len(GROUPS))
        needed, limit = limits.count_descriptors(state), limits.max_open_files()
        os.close(os.dup(0))  # a reserve is left for files
    assert needed == len(GROUPS) // 20 + limits.RESERVE
    assert len(GROUPS) - 20 * 11 <= len(failed) <= len(GROUPS) - 20 * 9
    takes = f"all rules together take about {needed} open files, and the limit is {limit}"
    assert one(failed).startswith(f"eth0: too many open files; {takes}: set LimitNOFILE=")
    assert [record.getMessage() for record in caplog.records if takes in record.getMessage()]


def test_rules_within_the_limit_of_open_files_cause_no_warning(link, caplog):
    _, _, failed = joined(link, 40)
    assert (failed, caplog.records) == ({}, [])


def test_too_many_outputs_for_the_limit_of_open_files_name_the_limit_that_is_needed(relay):
    eth1 = socket.if_nametoindex("eth1")
    outputs = [Egress(eth1, "10.2.0.1", 20_000 + number) for number in range(50)]
    sockets = Sockets()
    sockets.warn_if_too_many(DesiredState(WorkerState(frozenset(outputs)), 1))
    with room_for(10), pytest.raises(SupplyError) as failure:
        sockets.supply([Open(0, egress) for egress in outputs])
    assert (
        len(failure.value.reasons) == 45
    )  # each output has a socket that sends, and one for what comes back
    assert f"all rules together take about {100 + limits.RESERVE} open files" in str(failure.value)


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_memberships_for_each_socket_need_more_sockets(relay, link, count):
    relay.sysctl("net.ipv4.igmp_max_memberships", count)
    _, state, failed = joined(link, 100)
    assert failed == {}
    assert limits.count_descriptors(state) == -(-100 // count) + limits.RESERVE


def test_a_host_that_allows_no_membership_gets_the_name_of_the_setting(relay, link):
    relay.sysctl("net.ipv4.igmp_max_memberships", 0)
    _, _, failed = joined(link, 2)
    assert one(failed) == (
        "eth0: a socket has no room for a membership; raise net.ipv4.igmp_max_memberships (0 now) with"
        " sysctl(8), for example to 20"
    )


def test_a_host_without_memory_for_socket_options_gets_the_name_of_the_setting(relay, link):
    relay.sysctl("net.core.optmem_max", 0)
    _, _, failed = joined(link, 2)
    assert one(failed).endswith("raise net.core.optmem_max (0 now) with sysctl(8), for example to 131072, or"
                                " give the host more memory")  # fmt: skip


def test_little_memory_for_socket_options_needs_more_sockets_and_loses_no_group(relay, link):
    relay.sysctl("net.core.optmem_max", 512)
    sockets, _, failed = joined(link, 100)
    assert failed == {}
    assert relay.groups("eth0") >= set(GROUPS[:100])
    assert sockets.perform([Release(Membership(link, group)) for group in GROUPS[:100]]) == {}


def test_a_host_with_too_many_open_files_gets_the_name_of_the_setting():
    reason = limits.describe_error(OSError(errno.ENFILE, "Too many open files in system"), 100)
    assert reason.startswith("too many open files in system; raise fs.file-max (")


def test_any_other_error_keeps_its_text():
    assert limits.describe_error(OSError(errno.ENODEV, "No such device"), 100) == "no such device"


@pytest.mark.planes("userspace", "kernel")
def test_a_daemon_without_enough_descriptors_runs_what_it_can_names_the_limit_and_reloads(studio, frugal):
    rules = [stream(number, group) for number, group in enumerate(GROUPS[:1000])]
    with studio.relaying(*rules, python=frugal) as relay:
        log = relay.log()
        needed = NEEDED[studio.plane]
        told = f"all rules together take about {needed} open files, and the limit is {needed - 4}"
        assert f"rules will fail: {told}" in log
        assert "more: see `mcrelay status`" in log
        assert "set LimitNOFILE= of the service" in " ".join(relay.ask("status", "stream-999").stdout.split())
        assert len(studio.relay.groups("eth0") & set(GROUPS)) < 1000
        answer = relay.reload(studio.config(*rules[:100]))
        assert answer.startswith("applied: generation 2, 100 rules (100 active)")
        assert studio.relay.groups("eth0") >= set(GROUPS[:100])
