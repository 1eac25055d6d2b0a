"""The control process has no privilege, may die at any time, and has the whole snapshot of the supervisor."""

import os
import random
import shutil
import signal
import socket
import stat
from pathlib import Path

import pytest

from mcrelay.client.connection import NoAnswer, NotRunning, connect
from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import wait_until
from tests.netns.test_processes import assert_powerless

pytestmark = pytest.mark.planes("userspace")
BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
NAMES = [f"rule-{number}" for number in range(12)]


def ask(relay, method="status", **parameters):
    with connect(str(relay.run_dir / "control.sock")) as client:
        return client.call(method, **parameters)


def kill_control(relay):
    """Kill the control process, and return once its successor answers."""
    [killed] = relay.control()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: relay.control() not in ([], [killed]), "another control process")
    wait_until(lambda: answers(relay), "an answer")


def answers(relay):
    try:
        return ask(relay)["processes"]
    except (NoAnswer, NotRunning):
        return False


def descriptors(process):
    """Return the open files of a process from /proc, each with its access mode."""
    return [
        (
            os.readlink(link),
            int((link.parents[1] / "fdinfo" / link.name).read_text().split()[3], 8) & os.O_ACCMODE,
        )
        for link in Path(f"/proc/{process}/fd").iterdir()
    ]


def test_the_control_process_is_powerless_and_has_the_counters_for_reading_only(studio):
    with studio.relaying(FEED) as relay:
        [control] = relay.control()
        wait_until(lambda: answers(relay), "an answer")
        assert_powerless(control)
        counters = [mode for name, mode in descriptors(control) if "mcrelay-counters" in name]
        assert counters in ([], [os.O_RDONLY]), "mapped, and closed or not"
        maps = [line.split() for line in Path(f"/proc/{control}/maps").read_text().splitlines()]
        shared = [fields[1] for fields in maps if "mcrelay-counters" in " ".join(fields)]
        assert shared
        assert all("w" not in rights for rights in shared)


def test_the_socket_is_for_owner_and_group_and_lasts_as_long_as_the_daemon(studio):
    with studio.relaying(FEED) as relay:
        path = relay.run_dir / "control.sock"
        found = path.stat()
        assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o660)
        assert stat.S_IMODE(relay.run_dir.stat().st_mode) == 0o755
        kill_control(relay)
        assert path.stat().st_ino == found.st_ino
        relay.stop()
        assert not path.exists()


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(studio):
    with studio.relaying(FEED) as relay:
        wait_until(lambda: answers(relay), "an answer")
        relay.process.kill()
        wait_until(lambda: studio.relay.processes() == [], "the end of all its processes")
        assert (relay.run_dir / "control.sock").exists()
        with pytest.raises(NotRunning):
            ask(relay)
    with studio.relaying(FEED) as relay:
        wait_until(lambda: answers(relay), "an answer")


@BOTH_PLANES
def test_no_packet_is_lost_when_the_control_process_is_killed_again_and_again(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=100_000, rate=20_000)
        for _ in range(4):
            kill_control(relay)
        sent, report = report_of(sending), left.report()
        assert "control process" in relay.log()
        processes = {one["name"]: one for one in ask(relay)["processes"]}
    assert sent
    assert report.received == 100_000
    assert report.is_flawless
    assert processes["control"]["restarts"] == 4
    assert processes["control"]["reason"] == "killed by SIGKILL"
    assert all(one["restarts"] == 0 for name, one in processes.items() if name != "control")


def test_a_client_that_connects_while_there_is_no_control_process_is_answered_by_the_next_one(studio):
    with studio.relaying(FEED) as relay:
        wait_until(lambda: answers(relay), "an answer")
        [killed] = relay.control()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: killed not in relay.control(), "its end")
        assert ask(relay)["rules"][0]["name"] == "feed"


def random_rules(chance):
    """Return rules in any order; some change, some are disabled, some need a device that does not exist."""
    rules = []
    for name in chance.sample(NAMES, chance.randint(0, len(NAMES))):
        number = NAMES.index(name)
        interface = chance.choice(["left", "right"])
        enabled = chance.choice(["", ", enabled: false"])
        rules.append(
            f"{name}: {{description: {chance.choice('abc')},"
            f" input: {{interface: studio, group: 239.1.2.{number}, port: 5001}},"
            f" outputs: [{{interface: {interface}, group: 239.2.3.{number}, port: 6001}}]{enabled}}}"
        )
    return rules


def without_rates(value):
    """Return a part of a status without the rates, which are unknown for the first second."""
    if isinstance(value, dict):
        return {key: without_rates(one) for key, one in value.items() if not key.endswith("_per_second")}
    return [without_rates(one) for one in value] if isinstance(value, list) else value


def lasting(status):
    """Return the part of a status that does not change with time."""
    return {
        **{name: without_rates(status[name]) for name in ("generation", "reload", "rules", "interfaces")},
        "processes": [(one["name"], one["pid"], one["state"]) for one in status["processes"][:1]],
    }


@BOTH_PLANES
def test_after_many_reloads_the_deltas_have_made_the_same_status_as_a_whole_snapshot(studio):
    chance = random.Random(4)
    with studio.relaying(FEED) as relay:
        wait_until(lambda: answers(relay), "an answer")
        for _ in range(25):
            relay.reload(studio.config(FEED, *random_rules(chance)))
        wait_until(
            lambda: ask(relay)["reload"]["generation"] == ask(relay)["generation"]["number"], "the result"
        )
        followed = lasting(ask(relay))
        kill_control(relay)
        assert [rule["name"] for rule in followed["rules"]]
        assert lasting(ask(relay)) == followed


def test_each_of_two_overlapping_reloads_has_a_result(studio):
    with studio.relaying(FEED) as relay:
        begun = ask(relay, "reload.mark")["begun"]
        many = [
            f"r{n}: {{input: {{interface: studio, group: 239.8.{n >> 8}.{n & 255}, port: 7}},"
            for n in range(400)
        ]
        rules = [
            f"{rule} outputs: [{{interface: left, group: 239.9.9.9, port: {n + 1}}}]}}"
            for n, rule in enumerate(many)
        ]
        with connect(str(relay.run_dir / "control.sock")) as client:
            relay.config.write_text(studio.config(FEED, *rules))
            relay.process.send_signal(signal.SIGHUP)
            wait_until(lambda: client.call("reload.verdict")["begun"] > begun, "the first to begin")
            relay.process.send_signal(signal.SIGHUP)
            wait_until(lambda: client.call("reload.verdict")["finished"] == begun + 2, "the second to end")
            result = client.call("reload.verdict")
    first, second = result["earlier"][0], result
    assert (first["finished"], first["outcome"], first["changes"]["added_count"]) == (
        begun + 1,
        "applied",
        400,
    )
    assert (second["outcome"], second["generation"]) == ("unchanged", first["generation"])


def test_a_client_that_says_hello_and_leaves_harms_no_other(studio):
    with studio.relaying(FEED) as relay:
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(relay.run_dir / "control.sock"))
        assert ask(relay)["rules"]
        assert "died" not in relay.log()


def test_a_control_process_that_hangs_is_replaced_and_no_packet_is_lost(studio):
    with studio.relaying(FEED) as relay:
        wait_until(lambda: answers(relay), "an answer")
        [hanging] = relay.control()
        os.kill(hanging, signal.SIGSTOP)
        left = Receiver(studio.left, "239.2.2.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=20_000, rate=10_000)
        relay.reload()
        wait_until(lambda: relay.control() not in ([], [hanging]), "another control process", 60)
        assert answers(relay)
        sent, report = report_of(sending), left.report()
        assert "while a signal had stopped it; restarting it" in relay.log()
    assert sent
    assert (report.received, report.is_flawless) == (20_000, True)


def test_a_removed_socket_is_there_again_after_a_hangup(studio):
    with studio.relaying(FEED) as relay:
        with connect(str(relay.run_dir / "control.sock")) as before:
            for remove in ((relay.run_dir / "control.sock").unlink, lambda: shutil.rmtree(relay.run_dir)):
                remove()
                with pytest.raises(NotRunning):
                    ask(relay)
                relay.reload()
                wait_until(lambda: answers(relay), "an answer")
            assert before.call("list")["rules"]
        assert relay.log().count("mcrelay has created it again") == 2
        assert relay.ask("reload").returncode == 0
        relay.stop()
        assert not (relay.run_dir / "control.sock").exists()
