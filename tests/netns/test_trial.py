"""The confirmed config returns exactly and in time, whatever dies and whatever is in the run directory."""

import os
import signal
import time
from pathlib import Path

import pytest

from mcrelay.client.connection import connect
from mcrelay.client.reload_request import prepare_wait, wait_for_result
from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until
from mcrelay.reload.requests import Confirm, Try
from mcrelay.reload.results import Cause
from mcrelay.storage import request_file
from mcrelay.storage.run_dir import CONTROL_SOCKET
from mcrelay.storage.state_dir import MAX_ENTRIES, entry_numbers
from tests.netns.support.relay_observer import Sending, assert_all_arrived, prioritize

BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
EXTRA = (
    "extra: {input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009}]}"
)
BOTH_WAYS = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001},"
    " {interface: right, group: 239.2.2.2, port: 6001, ttl: 7}]}"
)
ANOTHER_WAY = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009, source_port: 7009},"
    " {interface: right, group: 239.2.2.2, port: 6001, ttl: 9}]}"
)
CHOSEN = (
    "chosen: {input: {interface: studio, group: 232.1.1.1, port: 5002, sources: [192.168.168.55, 10.0.0.5]},"
    " outputs: [{interface: right, group: 239.2.2.3, port: 6002}]}"
)
LATE = (
    "late: {input: {interface: right, group: 239.1.1.8, port: 5008},"
    " outputs: [{interface: studio, group: 239.2.2.8, port: 6008}]}"
)
TUNNEL = (
    "tunnel: {input: {interface: left, address: 10.2.0.1, port: 5003},"
    " outputs: [{interface: right, group: 239.2.2.4, port: 6003, source_port: 7003}]}"
)
HELD = ":138B"  # 5003, as the kernel shows it
LONG = 300.0  # seconds that no test waits for


def begin_trial(relay, config, seconds=LONG):
    """Put a configuration on trial; return the answer."""
    relay.config.write_text(config)
    request_file.write(relay.run_dir, Try(seconds), os.geteuid())
    return relay.handle_request()


def confirm(relay, generation):
    """Confirm what is on trial; return the answer."""
    request_file.write(relay.run_dir, Confirm(generation), os.geteuid())
    return relay.handle_request()


def call(relay, method):
    with connect(str(relay.run_dir / "control.sock")) as client:
        return client.call(method)


def outcome(relay):
    return call(relay, "reload.verdict").get("outcome")


def end_trial(relay):
    """Let the trial that runs end soon, and wait until all is as it was."""
    request_file.write(relay.run_dir, Try(0.2), os.geteuid())
    relay.handle_request()
    await_rollback(relay)


def await_rollback(relay):
    wait_until(lambda: outcome(relay) == "rolled_back", "the rollback")


def shown(relay):
    """Return all that clients see of the rules and of the memberships but what was counted."""
    document = call(relay, "status")
    keys = ("interface", "device", "destination", "port", "sources", "source", "source_port", "ttl", "runs")
    ends = {rule["name"]: (rule["input"], *rule["outputs"]) for rule in document["rules"]}
    ways = {name: [[end.get(key) for key in keys] for end in these] for name, these in ends.items()}
    memberships = {one["name"]: one["memberships"] for one in document["interfaces"]}
    return ways, {rule["name"]: rule["state"] for rule in document["rules"]}, memberships


def names(relay):
    return [rule["name"] for rule in call(relay, "status")["rules"]]


def kernel_sees(host):
    """Return the sockets to send from and the ports that are held, the rings, and the memberships.

    A socket to send from has its inode: it is the same one, and not another like it.
    """
    with host.enter_namespace():
        net = Path("/proc/thread-self/net")
        udp = [line.split() for line in (net / "udp").read_text().splitlines()[1:]]
        rings = [line.split() for line in (net / "packet").read_text().splitlines()[1:]]
    sockets = {(columns[1], "" if columns[1].endswith(HELD) else columns[9]) for columns in udp}
    groups = [host.groups(device) for device in ("eth0", "eth1", "eth2")]
    return sockets, sorted((columns[2], columns[3], columns[4]) for columns in rings), groups


def what_comes_out(studio, count=50):
    """Send into every input; return what comes out where, with its source and its TTL."""
    ways = [
        (studio.left, "239.2.2.2:6001"), (studio.right, "239.2.2.2:6001"), (studio.right, "239.2.2.3:6002"),
        (studio.right, "239.2.2.9:6009"),
    ]  # fmt: skip
    receivers = [Receiver(host, destination) for host, destination in ways]
    for destination in ("239.1.1.1:5001", "232.1.1.1:5002", "239.1.1.9:5009"):
        studio.send(destination, count=count, rate=2000)
    time.sleep(0.5)
    reports = [receiver.interrupt() for receiver in receivers]
    return [(one.received, one.received_from, one.ttls, one.is_flawless) for one in reports]


@BOTH_PLANES
def test_what_is_tried_runs_and_is_kept_when_it_is_confirmed(studio):
    with studio.relaying(FEED) as relay:
        answer = begin_trial(relay, studio.config(FEED, EXTRA))
        assert answer.startswith("applied: generation 2 (on trial until ")
        trial = call(relay, "status")["trial"]
        assert trial["generation"] == 2
        assert LONG - 60 < trial["until"] - time.time() <= LONG
        assert "239.1.1.9" in studio.relay.groups("eth0")
        assert confirm(relay, 1) == (
            "refused: mcrelay confirm: generation 2 is on trial, not 1; running on: generation 2"
            f"{answer[len('applied: generation 2') :]}"
        )
        assert confirm(relay, 2).startswith("confirmed: generation 2, ")
        wait_until(lambda: call(relay, "status")["trial"] is None, "the end of the trial in the status")
        assert not (relay.state_dir / "trial.json").exists()
        assert confirm(relay, 2).startswith("refused: mcrelay confirm: nothing is on trial")
        assert call(relay, "status")["reload"]["outcome"] == "applied"


@BOTH_PLANES
def test_a_rollback_restores_the_very_sockets_the_memberships_and_the_forwarding_table(studio):
    with studio.relaying(BOTH_WAYS, CHOSEN, TUNNEL) as relay:
        seen, status, came = kernel_sees(studio.relay), shown(relay), what_comes_out(studio)
        assert [received for received, *_ in came] == [50, 50, 50, 0]
        begin_trial(relay, studio.config(ANOTHER_WAY, LATE))
        assert shown(relay) != status
        changed = [now != before for now, before in zip(kernel_sees(studio.relay), seen, strict=True)]
        assert changed == [True, studio.has_workers, True]  # the kernel needs no ring
        assert [received for received, *_ in what_comes_out(studio)] == [0, 50, 0, 50]
        end_trial(relay)
        assert kernel_sees(studio.relay) == seen
        assert shown(relay) == status
        assert what_comes_out(studio) == came


@BOTH_PLANES
def test_an_untouched_rule_loses_no_packet_through_try_reload_and_rollback(studio):
    with studio.relaying(FEED, CHOSEN) as relay:
        prioritize(relay)
        workers = relay.workers()
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            begin_trial(relay, studio.config(FEED, EXTRA))
            relay.reload(studio.config(FEED))
            end_trial(relay)
            begin_trial(relay, studio.config(FEED, TUNNEL))
            end_trial(relay)
        report = left.report()
        assert relay.workers() == workers
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])


@BOTH_PLANES
def test_counters_go_on_after_a_rollback_where_they_stood(studio):
    def counted():
        return {rule["name"]: rule["input"]["packets"] for rule in call(relay, "status")["rules"]}

    with studio.relaying(FEED, CHOSEN) as relay:
        studio.send("232.1.1.1:5002", count=100, rate=2000)
        wait_until(lambda: counted()["chosen"] == 100, "100 packets")
        begin_trial(relay, studio.config(FEED, EXTRA))
        assert "chosen" not in counted()
        end_trial(relay)
        studio.send("232.1.1.1:5002", count=10, rate=2000)
        wait_until(lambda: counted()["chosen"] == 110, "10 packets more")


def test_what_is_reloaded_during_a_trial_is_rolled_back_too(studio):
    with studio.relaying(FEED) as relay:
        before = shown(relay)
        begin_trial(relay, studio.config(FEED, EXTRA))
        assert relay.reload(studio.config(FEED, CHOSEN)).startswith("applied: generation 3 (on trial until ")
        end_trial(relay)
        assert shown(relay) == before
        assert studio.relay.groups("eth0") >= {"239.1.1.1"}
        assert not studio.relay.groups("eth0") & {"239.1.1.9", "232.1.1.1"}


def test_what_was_rolled_back_stays_so_after_a_restart_until_somebody_reloads_it(studio):
    with studio.relaying(FEED) as relay:
        begin_trial(relay, studio.config(FEED, EXTRA))
        end_trial(relay)
    with relay:
        wait_until(lambda: outcome(relay) == "rolled_back", "the first snapshot of the control process")
        assert names(relay) == ["feed"]
        assert relay.reload().startswith("applied: generation 2, 2 rules")
    with relay:
        wait_until(lambda: outcome(relay) == "started", "the first snapshot of the control process")
        assert names(relay) == ["feed", "extra"]


def test_a_daemon_that_watches_leaves_alone_what_was_rolled_back(studio):
    with studio.daemon(studio.config(FEED), watch=True) as relay:
        begin_trial(relay, studio.config(FEED, EXTRA))
        end_trial(relay)
        begun = call(relay, "reload.mark")["begun"]
        os.utime(relay.config)
        time.sleep(1)
        assert call(relay, "reload.mark")["begun"] == begun
        relay.config.write_text(studio.config(FEED, CHOSEN))
        wait_until(lambda: outcome(relay) == "applied", "what was written then")
        assert call(relay, "status")["trial"] is None


def killed(relay):
    """Kill the supervisor, and wait for the end of all its processes."""
    relay.process.kill()
    relay.process.wait()
    wait_until(lambda: not relay.host.processes(), "the end of the workers")


@BOTH_PLANES
def test_a_trial_outlives_the_death_of_the_supervisor_and_ends_in_its_time(studio):
    with studio.relaying(FEED) as relay:
        begin_trial(relay, studio.config(FEED, EXTRA))
        until = call(relay, "status")["trial"]["until"]
        killed(relay)
    with relay:
        wait_until(lambda: names(relay) == ["feed", "extra"], "the rules that are on trial")
        assert call(relay, "status")["trial"]["until"] == until
        end_trial(relay)
        assert names(relay) == ["feed"]
        assert "239.1.1.9" not in studio.relay.groups("eth0")


def test_a_trial_that_ends_while_there_is_no_supervisor_is_rolled_back_at_the_start(studio):
    with studio.relaying(FEED) as relay:
        begin_trial(relay, studio.config(FEED, EXTRA), seconds=3)
        killed(relay)
    time.sleep(3)
    with relay:
        wait_until(lambda: outcome(relay) == "rolled_back", "the first snapshot of the control process")
        assert names(relay) == ["feed"]
        assert "239.1.1.9" not in studio.relay.groups("eth0")
        assert "239.1.1.9" in relay.config.read_text()


def make_link(path):
    (path.parent.parent / "elsewhere").write_text('{"verb": "try", "timeout": 1}')
    path.symlink_to("../elsewhere")


def make_foreign(path):
    path.write_text('{"verb": "try", "timeout": 1}')
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_link, make_foreign])
def test_a_request_file_that_holds_none_is_refused_and_stops_no_reload(studio, make):
    with studio.relaying(FEED) as relay:
        path = relay.run_dir / request_file.NAME
        make(path)
        assert relay.reload(studio.config(FEED, EXTRA)).startswith("applied: generation 2, 2 rules")
        wait = prepare_wait(str(relay.run_dir / CONTROL_SOCKET), 60)
        relay.process.send_signal(signal.SIGUSR2)
        refused = wait_for_result(wait, Cause.TRY)
        assert refused["outcome"] == "refused"
        assert refused["problems"][0]["message"].startswith(f"{path}: ")
        assert names(relay) == ["feed", "extra"]
        assert relay.reload().startswith("unchanged: generation 2, 2 rules")


@pytest.mark.parametrize("text", ["", "{", "[" * 4000, "x" * 10_000_000, '{"verb": "try"}', '{"verb": "rm"}'])
def test_a_request_that_cannot_be_read_is_refused_and_applies_nothing(studio, text):
    with studio.relaying(FEED) as relay:
        relay.config.write_text(studio.config(FEED, EXTRA))
        (relay.run_dir / request_file.NAME).write_text(text)
        assert relay.handle_request().startswith("refused: ")
        assert names(relay) == ["feed"]
        assert relay.reload().startswith("applied: generation 2, 2 rules")


def test_a_state_directory_that_cannot_be_written_costs_trials_and_nothing_else(studio):
    relay = studio.relaying(FEED)
    relay.state_dir.mkdir()
    relay.state_dir.chmod(0o555)  # the supervisor is root, without the capability to overlook that
    with relay:
        assert relay.log().count("history and trials are disabled: ") == 1
        answer = begin_trial(relay, studio.config(FEED, EXTRA))
        assert answer.startswith("refused: mcrelay try: there is no confirmed configuration to restore")
        assert "permission denied" in answer
        assert relay.reload().startswith("applied: generation 2, 2 rules")
        assert relay.log().count("history and trials are disabled: ") == 1


def test_a_state_directory_full_of_garbage_is_used_all_the_same(studio):
    relay = studio.relaying(FEED)
    (relay.state_dir / "history").mkdir(parents=True)
    for name in ("trial.json", "refused.json", "lock", "history/000003.json", "history/notes.txt"):
        (relay.state_dir / name).write_bytes(os.urandom(5000))
    os.mkfifo(relay.state_dir / "history" / "000004.json")
    with relay:
        begin_trial(relay, studio.config(FEED, EXTRA))
        end_trial(relay)
        assert names(relay) == ["feed"]
        assert entry_numbers(relay.state_dir) == [3, 4, 5, 6, 7]


def test_the_history_keeps_the_last_ten_that_were_accepted(studio):
    with studio.relaying(FEED) as relay:
        for port in range(6010, 6025):
            relay.reload(studio.config(FEED.replace("6001", str(port))))
            relay.reload("version: 3")
            relay.reload(studio.config(FEED.replace("6001", str(port))))
        assert entry_numbers(relay.state_dir) == list(range(17 - MAX_ENTRIES, 17))
