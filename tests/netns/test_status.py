"""What the command line shows of a running daemon is true: states, reasons, counters, results of reloads."""

import json
import os
import re
import shutil
import signal
import socket
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from mcrelay.cli import main
from mcrelay.lab import Receiver
from mcrelay.lab.command import TIMEOUT_S, mcrelay, wait_until
from mcrelay.model.drops import Drop
from tests.netns.support.frames import MORE_FRAGMENTS, Frame
from tests.netns.support.relay_observer import Sending

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas" / "status.schema.json").read_text()))

BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
SPARE = (
    "spare: {input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009}]}"
)


def status(relay, *words):
    """Return the status document of a running daemon, after a check against its schema."""
    document = json.loads(relay.ask("status", "--json", *words).stdout)
    SCHEMA.validate(document)
    return document


def states(relay):
    """Return the state and the reason of every rule."""
    return {rule["name"]: (rule["state"], rule["reason"]) for rule in status(relay)["rules"]}


def lines_of(relay, *words):
    """Return the lines that a verb prints; it must succeed."""
    done = relay.ask(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# Status.


@BOTH_PLANES
def test_every_state_is_shown_with_its_reason_and_the_exit_code_says_degraded(studio):
    config = studio.config(
        FEED,
        "late: {input: {interface: studio, group: 239.1.1.2, port: 5001},"
        " outputs: [{interface: gone, group: 239.2.2.3}]}",
        "taken: {input: {interface: studio, group: 239.1.1.3, port: 5001},"
        " outputs: [{interface: left, group: 239.2.2.4, source_port: 20000}]}",
        "off: {input: {interface: studio, group: 239.1.1.4, port: 5001},"
        " outputs: [{interface: left}], enabled: false}",
    ).replace("rules:", "  gone: {device: eth9}\nrules:")
    with studio.relay.enter_namespace(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("10.2.0.1", 20_000))
        with studio.daemon(config) as relay:
            found = states(relay)
            assert found["feed"] == ("active", "")
            assert found["late"] == ("unresolved", "output gone: device eth9 is absent")
            assert found["taken"][0] == "failed"
            assert "10.2.0.1 port 20000" in found["taken"][1]
            assert found["off"] == ("disabled", "`enabled: false` in the file")
            lines = lines_of(relay, "status")
            assert "4 rules: 1 active, 1 unresolved, 1 failed, 1 disabled" in lines
            for name, (state, reason) in found.items():
                place = next(number for number, line in enumerate(lines) if line.split()[:2] == [name, state])
                if reason:
                    assert " ".join(" ".join(lines[place + 1 : place + 4]).split()).startswith(reason)
            assert relay.ask("status", "--exit-code").returncode == 5
            assert relay.ask("status", "--exit-code", "feed").returncode == 0
            listed = lines_of(relay, "list")
            assert re.search(
                r"late +unresolved +\S.*:\d+  output gone: device eth9 is absent", "\n".join(listed)
            )


@pytest.mark.planes("userspace")
def test_a_rule_whose_worker_keeps_dying_is_paused_and_its_reason_says_how_the_worker_died(studio):
    with studio.relaying(FEED) as relay:

        def is_paused():
            for worker in relay.workers():
                os.kill(worker, signal.SIGKILL)
            return states(relay)["feed"][0] == "paused"

        wait_until(is_paused, "the pause")
        document = status(relay)
        (worker,) = (process for process in document["processes"] if process["kind"] == "worker")
        assert worker["reason"] == "killed by SIGKILL"
        assert worker["restarts"] >= 1
        wait_until(lambda: states(relay)["feed"] == ("active", ""), "the worker's return")
        assert relay.ask("status", "--exit-code").returncode == 0


@BOTH_PLANES
def test_counters_rates_the_last_packet_and_its_source_are_those_of_the_traffic(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001", rate=2000, size=500) as sending:

            def has_rates():
                (rule,) = status(relay)["rules"]
                return rule["input"]["packets_per_second"] and rule["outputs"][0]["packets_per_second"]

            wait_until(has_rates, "rates")
        (rule,) = status(relay, "feed")["rules"]
        report = left.report()
        (counted,) = json.loads(relay.ask("stats", "--json").stdout)["rules"]
        text = "\n".join(lines_of(relay, "status", "feed"))
    sent = sending.sent["239.1.1.1:5001"]
    assert report.received + report.socket_drops == sent
    taken, output = rule["input"], rule["outputs"][0]
    for part in (taken, output, counted["in"], counted["out"]):
        assert (part["packets"], part["octets"]) == (sent, sent * 500)
    assert taken["last_packet"]["source"] == "192.168.168.55"
    assert 0 <= taken["last_packet"]["age"] < 10 * TIMEOUT_S
    assert rule["dropped"] == 0
    assert f"{sent:,} packets" in text
    assert "from 192.168.168.55" in text


@BOTH_PLANES
def test_every_drop_reason_is_counted_where_it_belongs_and_explained(studio):
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [192.168.168.55]},"
        " outputs: ["
        "{interface: left, group: 239.2.2.2, port: 6001, ttl: decrement},"
        "{interface: right, group: 239.2.2.2, port: 6001}]}"
    )
    frames = [
        *[Frame(ttl=9)] * 5, *[Frame(ttl=1)] * 4, *[Frame(source="10.0.0.66")] * 3,
        *[Frame(fragment=MORE_FRAGMENTS)] * 2, Frame(total=27), *[Frame(port=7)] * 6,
    ]  # fmt: skip
    studio.relay.ip("link set eth2 down")
    with studio.relaying(rule) as relay:
        with studio.sender.enter_namespace(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
            wire.bind(("eth0", 0))
            for frame in frames:
                wire.send(bytes(frame))
        wait_until(lambda: status(relay)["interfaces"][0]["packets"] == len(frames), "all packets")
        document = status(relay, "feed")
        text = " ".join(" ".join(lines_of(relay, "status", "feed")).split())
        stats = lines_of(relay, "stats")
    (one,) = document["rules"]
    assert one["input"]["drops"] == {
        "fragment": 2,
        "malformed": 1,
        "oversize": 0,
        "source": 3,
        "stale": 0,
        "own": 0,
    }
    assert one["input"]["packets"] == 9
    to_left, to_right = one["outputs"]
    assert (to_left["packets"], to_left["drops"]) == (5, {"ttl": 4, "send_error": {}})
    (refused,) = to_right["drops"]["send_error"].values()
    assert (to_right["packets"], refused) == (0, 9)
    assert one["dropped"] == 2 + 1 + 3 + 4 + 9
    # A socket finds out with each packet that the device is down; the kernel plane is told once.
    error = "ENETUNREACH" if studio.has_workers else "link_down"
    of_packets = f"; output right to 239.2.2.2:6001: {error}, " if studio.has_workers else ""
    assert one["reason"].startswith(f"device eth2 is down{of_packets}")
    assert document["interfaces"][0]["drops"]["no_rule"] == 6
    for reason in (Drop.SOURCE, Drop.FRAGMENT, Drop.MALFORMED, Drop.TTL, Drop.NO_RULE):
        assert f"not relayed: {reason} {reason.explanation}" in text
    assert f"9 not relayed: send_error {error} " in text
    assert any("source 3" in line and "ttl 4" in line for line in stats)


@BOTH_PLANES
def test_an_interface_shows_its_link_its_addresses_and_what_is_joined(studio):
    with studio.relaying(FEED) as relay:
        studio.relay.ip("link set eth2 down")

        def links():
            return {one["name"]: one["link"] for one in status(relay)["interfaces"]}

        wait_until(lambda: links()["right"] == "down", "the state of the link")
        interfaces = {one["name"]: one for one in status(relay)["interfaces"]}
        assert interfaces["studio"]["memberships"] == [{"group": "239.1.1.1", "source": None}]
        assert interfaces["studio"]["addresses"] == ["10.1.0.1"]
        assert interfaces["left"]["memberships"] == []
        assert "  member of 239.1.1.1" in lines_of(relay, "status")


def test_an_unknown_rule_is_one_line_with_the_nearest_name(studio):
    with studio.relaying(FEED) as relay:
        for verb in ("status", "stats"):
            done = relay.ask(verb, "fed")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == "mcrelay: no rule is named `fed`; did you mean `feed`?\n"


def test_a_control_process_that_dies_is_restarted_for_the_next_request(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        for _ in range(3):
            processes = {one["name"]: one["pid"] for one in status(relay)["processes"]}
            os.kill(processes["control"], signal.SIGKILL)
            assert states(relay) == {"feed": ("active", "")}
        assert relay.workers() == workers
        (control,) = (one for one in status(relay)["processes"] if one["kind"] == "control")
        assert (control["restarts"], control["reason"]) == (3, "killed by SIGKILL")


# Reload.


def test_a_reload_prints_what_changed_or_that_nothing_did(studio):
    with studio.relaying(FEED) as relay:
        relay.config.write_text(studio.config(FEED.replace("6001", "6002"), SPARE))
        assert lines_of(relay, "reload") == [
            f"{relay.config}: applied, generation 2",
            "  added    1 rule: spare",
            "  changed  1 rule: feed",
            "  kept     0 rules",
        ]
        assert lines_of(relay, "reload") == [f"{relay.config}: unchanged, generation 2 still runs"]
        document = status(relay)
        assert document["reload"]["outcome"] == "unchanged"
        assert document["generation"]["number"] == 2
        assert json.loads(relay.ask("reload", "--json").stdout)["outcome"] == "unchanged"


def test_a_rejected_file_has_the_problems_of_check_and_status_keeps_showing_them(studio):
    with studio.relaying(FEED) as relay:
        relay.config.write_text(studio.config(FEED.replace("5001", "70000"), "spare: {}"))
        done = relay.ask("reload")
        checked = relay.ask("check")  # the daemon's file, without its name
        assert (done.returncode, checked.returncode) == (78, 78)
        assert done.stdout == checked.stdout.removesuffix("\n") + ": rejected, generation 1 still runs\n"
        assert f"{relay.config}: 3 problems" in checked.stdout
        document = status(relay)
        assert document["reload"]["outcome"] == "rejected"
        assert document["generation"]["number"] == 1
        assert document["reload"]["problems"] == json.loads(relay.ask("check", "--json").stdout)["problems"]
        assert states(relay) == {"feed": ("active", "")}
        assert relay.ask("status", "--exit-code").returncode == 5
        relay.config.write_text(studio.config(FEED))
        assert relay.ask("reload").returncode == 0
        assert relay.ask("status", "--exit-code").returncode == 0


def test_each_of_several_racing_reloads_is_about_the_file_at_its_call_or_later(studio):
    def reloading():
        return relay.host.start(mcrelay("reload", *relay.client_options))

    with studio.relaying(FEED) as relay:
        for number in range(1, 6):
            relay.config.write_text(studio.config(FEED, SPARE.replace("6009", str(6100 + number))))
            racing = [reloading() for _ in range(3)]
            assert [process.wait(60) for process in racing] == [0, 0, 0]
            assert status(relay)["rules"][1]["outputs"][0]["port"] == 6100 + number
            early = reloading()
            relay.config.write_text(studio.config("wrong: {}"))
            assert relay.ask("reload").returncode == 78
            assert early.wait(60) in (0, 78)
        assert status(relay)["generation"]["number"] == 6


def test_a_reload_while_the_control_process_keeps_dying_still_gets_its_result(studio):
    with studio.relaying(FEED) as relay:
        for number in range(3):
            (control,) = (one for one in status(relay)["processes"] if one["kind"] == "control")
            relay.config.write_text(studio.config(FEED, SPARE.replace("6009", str(6200 + number))))
            reloading = relay.host.start(mcrelay("reload", *relay.client_options))
            os.kill(control["pid"], signal.SIGKILL)
            out, err = reloading.communicate(timeout=60)
            assert (reloading.returncode, err) == (0, "")
            assert f"applied, generation {number + 2}" in out


@contextmanager
def nobody():
    """Make this process, which has imported all it needs, an unprivileged user."""
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_folder():
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="mcrelay-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_user_who_may_connect_but_not_signal_gets_a_status_and_no_reload(studio, open_folder, capsys):
    with replace(studio, folder=open_folder).relaying(FEED) as relay:
        for verb in ("reload", "status"):
            assert main([verb, *relay.client_options]) == 0
        relay.run_dir.joinpath("control.sock").chmod(0o666)
        capsys.readouterr()
        with nobody():
            assert main(["status", *relay.client_options]) == 0
            assert main(["reload", *relay.client_options]) == 4
        assert (
            capsys.readouterr().err
            == f"mcrelay: not permitted to signal process {relay.process.pid}: use sudo\n"
        )
        relay.run_dir.joinpath("control.sock").chmod(0o600)
        with nobody():
            assert main(["status", *relay.client_options]) == 4


# Plan.


@BOTH_PLANES
def test_a_plan_compares_the_file_of_the_daemon_with_what_runs_and_the_reload_does_the_same(studio):
    with studio.relaying(FEED, SPARE) as relay:
        assert relay.ask("plan", "--detailed-exitcode").returncode == 0
        new = "new: {input: {interface: studio, group: 239.1.1.7, port: 5007}, outputs: [{interface: left}]}"
        changed = studio.config(FEED.replace("port: 6001", "port: 6001, ttl: 9"), new)
        relay.config.write_text(changed.replace("max_age: 1min", "max_age: 2s"))
        done = relay.ask("plan", "--detailed-exitcode")
        assert (done.returncode, done.stderr) == (2, "")
        assert done.stdout.splitlines() == [
            f"{relay.config}: a reload would add 1 rule, change 1 rule, remove 1 rule,"
            " change 1 setting, and keep 0 rules",
            "",
            "~ max_age: 1min -> 2s",
            "",
            "+ new: active",
            "  in   studio (eth0)  239.1.1.7:5007",
            "  out  left (eth1)  239.1.1.7:5007  from 10.2.0.1, TTL 64, DSCP copy",
            "",
            "~ feed: active",
            "  output left:239.2.2.2:6001: ttl: 64 -> 9",
            "",
            "- spare",
        ]
        planned = json.loads(relay.ask("plan", "--json").stdout)["changes"]
        changes = json.loads(relay.ask("reload", "--json").stdout)["changes"]
        assert (planned["add"], [*planned["change"]], planned["remove"]) == (["new"], ["feed"], ["spare"])
        assert (changes["added"], changes["changed"], changes["removed"]) == (["new"], ["feed"], ["spare"])
        assert planned["settings"] == changes["settings"] == ["max_age: 1min -> 2s"]
        assert relay.ask("plan", "--detailed-exitcode").returncode == 0


def test_a_plan_of_an_invalid_file_shows_its_problems_also_as_json(studio):
    with studio.relaying(FEED) as relay:
        relay.config.write_text("version: 2\n")
        assert relay.ask("plan").returncode == 78
        assert relay.ask("plan", "--detailed-exitcode").returncode == 1
        assert relay.ask("plan", "--json").stdout == relay.ask("check", "--json").stdout


@pytest.mark.planes("userspace")
def test_a_plan_shows_a_rule_that_would_stay_paused(studio):
    with studio.relaying(FEED) as relay:

        def plan_shows_the_pause():
            for _ in range(7):  # each pause is twice as long, so that the plan is made within the last one
                wait_until(relay.workers, "a worker")
                for worker in relay.workers():
                    os.kill(worker, signal.SIGKILL)
            return any(line.startswith("= feed: paused, not active: ") for line in lines_of(relay, "plan"))

        wait_until(plan_shows_the_pause, "the pause", 60)
