"""A host has one daemon for a run directory, and daemons that relay the same flow are told of each other."""

import json
import os
import shutil
import signal

import pytest

from mcrelay.lab import Daemon, Receiver
from mcrelay.lab.command import mcrelay, wait_until

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
FAILURE, DEGRADED = 1, 5
SQUATTER = """
import hashlib, os, socket, sys, time
digest = hashlib.sha256(os.fsencode(os.path.realpath(sys.argv[1]))).hexdigest()
held = []
for number in range(8):
    held.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    held[-1].bind(f"\\0mcrelay/run-dir/{digest}/{number}")
    held[-1].listen()
print("ready", flush=True)
time.sleep(600)
"""


def start_second(studio, relay):
    """Start a daemon with the directories of one that runs, and wait for its end."""
    options = (f"--run-dir={relay.run_dir}", f"--state-dir={studio.folder}/other-state")
    return studio.relay.run(mcrelay("run", "-c", str(relay.config), *options), check=False, seconds=20)


@pytest.mark.parametrize("again", [True, False])
def test_a_run_directory_that_is_removed_does_not_let_a_second_daemon_start(studio, again):
    with studio.relaying(FEED) as relay:
        for _ in range(3):
            shutil.rmtree(relay.run_dir)
            if again:
                relay.run_dir.mkdir()
            second = start_second(studio, relay)
            assert second.returncode == FAILURE
            assert second.stderr == (
                f"mcrelay: mcrelay is already running in {relay.run_dir} (process {relay.process.pid}):"
                " use `mcrelay reload`, or choose another --run-dir\n"
            )
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100, rate=1000)
        report = left.report()
        assert (report.received, report.duplicated) == (100, 0)
        wait_until(lambda: relay.ask("status").returncode == 0, "the control socket, which is made again")


def test_a_daemon_that_was_killed_lets_the_next_one_start(studio):
    with studio.relaying(FEED) as relay:
        relay.process.send_signal(signal.SIGKILL)
        relay.process.wait()
    with studio.relaying(FEED) as relay:
        assert relay.ask("status").returncode == 0


def test_a_user_who_takes_the_names_keeps_no_daemon_from_its_start(studio):
    run_dir = studio.folder / "daemon" / "run"
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        SQUATTER,
    ]
    squatter = studio.relay.start([*command, str(run_dir)])
    assert squatter.stdout.readline() == "ready\n"
    with studio.relaying(FEED) as relay:
        assert f"process {squatter.pid} of user 65534 holds a name of mcrelay; ignored" in relay.log()
    squatter.kill()


def other(studio, *rules):
    """Another daemon on the relay's host, with directories of its own."""
    return Daemon(studio.relay, studio.folder / "other", studio.config(*rules), watch=False)


def reason(relay, rule="feed"):
    """Return the reason of a rule, and the exit code of `status --exit-code`."""
    done = relay.ask("status", rule, "--json", "--exit-code")
    return json.loads(done.stdout)["rules"][0]["reason"], done.returncode


def await_text(relay, rule, twin, twins_rule):
    """Wait until a rule says that another daemon relays its flow, too; return the text."""
    twin_rule = f"process {twin.process.pid} ({twin.config}, rule {twins_rule})"
    text = f"also relayed by {twin_rule}: every packet is sent twice"
    wait_until(lambda: reason(relay, rule) == (text, DEGRADED), "the other daemon")
    return text


def shows(relay, text):
    """Return whether `status` shows a text once, in lines of any length."""
    return "".join(relay.ask("status").stdout.split()).count("".join(text.split())) == 1


def kill_control(relay):
    (killed,) = relay.control()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: relay.control() not in ([], [killed]), "another control process")


def test_two_daemons_that_relay_the_same_flow_are_told_of_each_other(studio):
    with studio.relaying(FEED) as first:
        with other(studio, FEED.replace("feed", "again")) as second:
            left = Receiver(studio.left, "239.2.2.2:6001")
            studio.send("239.1.1.1:5001", count=100, rate=1000)
            assert left.report().received == 200
            for relay, rule, twin, name in (
                (first, "feed", second, "again"),
                (second, "again", first, "feed"),
            ):
                text = await_text(relay, rule, twin, name)
                assert shows(relay, text)
                assert f"rule {rule}: {text}" in relay.log()
            # A change is told, too.
            second.reload(studio.config(FEED.replace("239.1.1.1", "239.1.1.9")))
            wait_until(lambda: reason(first) == ("", 0), "the change")
            second.reload(studio.config(FEED))
            await_text(first, "feed", second, "feed")
            # The control processes find each other again.
            for relay in (first, second):
                kill_control(relay)
                await_text(first, "feed", second, "feed")
                await_text(second, "feed", first, "feed")
        wait_until(lambda: reason(first) == ("", 0), "the end of the other daemon")


def test_a_daemon_that_is_killed_is_forgotten(studio):
    with studio.relaying(FEED) as first, other(studio, FEED) as second:
        await_text(first, "feed", second, "feed")
        second.process.kill()
        second.process.wait()
        wait_until(lambda: reason(first) == ("", 0), "its end")


def test_daemons_that_relay_a_flow_to_different_outputs_get_a_hint(studio):
    with studio.relaying(FEED) as first, other(studio, FEED.replace("left", "right")) as second:
        twin = f"process {second.process.pid} ({second.config}, rule feed)"
        hint = f"rule feed: also relayed by {twin}: to other outputs"
        wait_until(lambda: shows(first, hint), "the hint")
        assert reason(first) == ("", 0)


@pytest.mark.parametrize(
    "different",
    [
        FEED.replace("port: 5001", "port: 5002"),
        FEED.replace("studio", "right"),
        FEED.replace("port: 5001", "port: 5001, sources: [192.168.168.56]"),
    ],
)
def test_daemons_that_relay_different_flows_are_told_nothing(studio, different):
    own = FEED.replace("port: 5001", "port: 5001, sources: [192.168.168.55]")
    same = FEED.replace("feed", "same").replace("5001", "5009")
    with studio.relaying(own, same) as first, other(studio, different, same) as second:
        await_text(first, "same", second, "same")
        assert reason(first) == ("", 0)


def test_a_stranger_is_told_nothing_and_root_is(studio):
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
        "s.connect('\\0mcrelay/daemon/0'); print(len(s.recv(1000)))"
    )
    command = ["/usr/bin/python3", "-c", program]
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with studio.relaying(FEED) as relay:
        assert studio.relay.run([*stranger, *command], check=False).stdout in ("", "0\n")
        assert int(studio.relay.run(command).stdout) > 0
        assert relay.ask("status").returncode == 0
