"""The control process under hostile clients, and its documents compared with what happens on the wire."""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from mcrelay.client.connection import NoAnswer, RequestFailed, connect
from mcrelay.client.reload_request import call_with_retry
from mcrelay.control.methods import METHODS
from mcrelay.lab import Receiver
from mcrelay.lab.command import TIMEOUT_S, wait_until
from mcrelay.protocol.jsonrpc import Code
from mcrelay.worker.array_path import MAX_BATCH_PACKETS
from tests.netns.support import hostile_clients
from tests.netns.support.relay_observer import Sending, assert_all_arrived, prioritize

BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
ENOUGH = 0.25  # seconds in which an honest client is answered, whatever the others do
AT_MOST = 2.0  # seconds of the slowest answer


def control_of(relay):
    return str(relay.run_dir / "control.sock")


def call(relay, method="status", **params):
    """Call a method on a connection of its own, as the command line does."""
    with connect(control_of(relay)) as client:
        return client.call(method, **params)


def seconds_of_status(relay):
    began = time.monotonic()
    status = call(relay)
    assert status["rules"][0]["name"] == "feed"
    return time.monotonic() - began


@contextmanager
def under(attack, relay):
    """Attack as long as the block lasts, which begins once the attack is at its full extent."""
    process = subprocess.Popen(
        [sys.executable, hostile_clients.__file__, attack, control_of(relay)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "done\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("attack", hostile_clients.ATTACKS)
def test_hostile_clients_cost_no_packet_and_other_clients_are_answered(studio, attack):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending, under(attack, relay):
            seconds = []
            for _ in range(15):
                seconds.append(seconds_of_status(relay))
                time.sleep(0.1)
        report = left.report()
        processes = {one["name"]: one for one in call(relay)["processes"]}
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])
    assert processes["control"]["restarts"] == 0
    assert statistics.median(seconds) < ENOUGH, seconds
    assert max(seconds) < AT_MOST, seconds


def wrong_calls():
    """Yield every method with each of its parameters wrong and missing, and with an unknown one."""
    values = {str: "feed", int: 1, bool: True}
    for name, method in METHODS.items():
        right = {parameter.name: values[parameter.kind] for parameter in method.parameters}
        yield name, {**right, "nonsense": 1}
        for parameter in method.parameters:
            for wrong in (
                7.5,
                [],
                {},
                *(value for kind, value in values.items() if kind is not parameter.kind),
            ):
                yield name, {**right, parameter.name: wrong}
            if parameter.is_required:
                yield name, {key: value for key, value in right.items() if key != parameter.name}
                yield name, {**right, parameter.name: None}


def test_every_method_refuses_wrong_and_missing_parameters_and_no_packet_is_lost(studio):
    calls = list(wrong_calls())
    assert {name for name, _ in calls} == set(METHODS)
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending, connect(control_of(relay)) as client:
            for _ in range(5):
                for name, params in calls:
                    with pytest.raises(RequestFailed) as refused:
                        client.call(name, **params)
                    assert refused.value.code == Code.INVALID_PARAMS
                    assert "parameter" in str(refused.value)
                assert seconds_of_status(relay) < TIMEOUT_S
        report = left.report()
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])


def test_status_ten_times_a_second_costs_no_packet(studio):
    with studio.relaying(FEED) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            for _ in range(40):
                call(relay)
                time.sleep(0.1)
        report = left.report()
    assert_all_arrived(report, sending.sent["239.1.1.1:5001"])


def counted(status):
    """Return all counters of a status by their path in it."""
    return dict(_counted(status, ()))


def _counted(value, place):
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = ((one.get("name", number), one) for number, one in enumerate(value) if isinstance(one, dict))
    else:
        if place[-1] in ("packets", "octets", "dropped") or "drops" in place:
            yield place, value
        return
    for name, one in inside:
        yield from _counted(one, (*place, name))


FAN_OUT = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [192.168.168.55]}, outputs: ["
    "{interface: left, group: 239.2.2.2, port: 6001}, {interface: right, group: 239.2.2.2, port: 6001}]}"
)
OTHER = (
    "other: {input: {interface: studio, group: 239.1.1.9, port: 5009},"
    " outputs: [{interface: right, group: 239.2.2.9, port: 6009}]}"
)


@BOTH_PLANES
def test_counters_never_go_back_over_reloads_and_kills_and_agree_with_sender_and_receivers(studio):
    with studio.relaying(FAN_OUT) as relay:
        prioritize(relay)
        left, right = (Receiver(host, "239.2.2.2:6001", idle=2) for host in (studio.left, studio.right))
        history = []
        with Sending(studio.sender, "239.1.1.1:5001", "239.1.1.77:5001", rate=5000, size=500) as sending:
            for step in range(30):
                if step % 10 == 2:
                    relay.reload(studio.config(FAN_OUT, *([OTHER] if step == 12 else [])))
                if step % 10 == 6:
                    for worker in relay.workers():
                        os.kill(worker, signal.SIGKILL)
                history.append(counted(call(relay)))
                time.sleep(0.1)
        reports = left.report(), right.report()
        sent = sending.sent["239.1.1.1:5001"]
        wait_until(lambda: call(relay)["rules"][0]["input"]["packets"] >= sent, "all packets")
        status = call(relay)
    history.append(counted(status))
    for before, after in pairwise(history):
        assert all(after[place] >= count for place, count in before.items() if place in after)
    [feed], [studio_link, *_] = status["rules"], status["interfaces"]
    # A worker that is killed has sent or counted a part of its last batch, at any point between the two. Its
    # successor sends and counts the whole batch again: each packet is counted at least once.
    twice = 3 * MAX_BATCH_PACKETS if studio.has_workers else 0
    assert sent <= feed["input"]["packets"] <= sent + twice
    assert 500 * sent <= feed["input"]["octets"] <= 500 * feed["input"]["packets"]
    assert feed["input"]["last_packet"]["source"] == "192.168.168.55"
    assert studio_link["drops"]["no_rule"] >= sending.sent["239.1.1.77:5001"]
    assert feed["dropped"] == 0
    for output, report in zip(feed["outputs"], reports, strict=True):
        arrived = report.received + report.duplicated + report.socket_drops
        assert sent <= output["packets"] <= arrived <= output["packets"] + twice
        assert report.received + report.socket_drops >= sent


@BOTH_PLANES
def test_counters_equal_those_of_sender_and_receivers(studio):
    with studio.relaying(FAN_OUT) as relay:
        left, right = (Receiver(host, "239.2.2.2:6001") for host in (studio.left, studio.right))
        studio.send("239.1.1.1:5001", 3000, rate=5000, size=300)
        studio.send("239.1.1.1:5002", 20, rate=1000)
        studio.sender.ip("address add 192.168.168.77/24 dev eth0")
        studio.send("239.1.1.1:5001", 30, rate=1000, source="192.168.168.77")
        reports = left.report(), right.report()
        wait_until(lambda: call(relay)["interfaces"][0]["packets"] == 3050, "all packets")
        time.sleep(1.1)  # the rates of the past
        status, stats = call(relay), call(relay, "stats")
        [rule] = call(relay, "list")["rules"]
    [feed], [link, *_] = status["rules"], status["interfaces"]
    assert (feed["input"]["packets"], feed["input"]["octets"]) == (3000, 900_000)
    assert feed["input"]["drops"] == {
        "fragment": 0,
        "malformed": 0,
        "oversize": 0,
        "source": 30,
        "stale": 0,
        "own": 0,
    }
    assert feed["dropped"] == 30
    assert link["drops"]["no_rule"] == 20
    for output, report in zip(feed["outputs"], reports, strict=True):
        assert (output["packets"], output["octets"]) == (3000, 900_000)
        assert output["drops"] == {"ttl": 0, "send_error": {}}
        assert report.received == 3000
    [row] = stats["rules"]
    assert (row["in"], row["out"]) == (
        {"packets": 3000, "octets": 900_000},
        {"packets": 6000, "octets": 1_800_000},
    )
    assert row["drops"]["source"] == 30
    assert (rule["name"], rule["state"], rule["file"]) == ("feed", "active", str(relay.config))


@BOTH_PLANES
def test_rates_are_those_of_the_sender(studio):
    with studio.relaying(FEED) as relay:
        assert call(relay)["rules"][0]["input"]["packets"] == 0
        with Sending(studio.sender, "239.1.1.1:5001", rate=2000, size=500):
            time.sleep(4)  # a sample a second, and rates over one to two of them
            [feed] = call(relay)["rules"]
    for end in (feed["input"], *feed["outputs"]):
        assert 1000 < end["packets_per_second"] < 3000
        assert end["bits_per_second"] == pytest.approx(end["packets_per_second"] * 4000, rel=0.01)


@BOTH_PLANES
def test_status_shows_the_running_processes_with_their_usage(studio):
    with studio.relaying(FEED) as relay:
        wait_until(lambda: call(relay)["processes"][0]["cpu_percent"] is not None, "percentages")
        processes = {one["name"]: one for one in call(relay)["processes"]}
        workers = ["worker 0"] if studio.has_workers else []
        assert set(processes) == {"supervisor", "control", *workers}
        assert processes["supervisor"]["pid"] == relay.process.pid
        assert [processes[name]["pid"] for name in workers] == relay.workers()
        for process in processes.values():
            assert process["state"] == "running"
            assert process["memory_octets"] > 1 << 20
            assert process["uptime"] >= 0
            assert Path(f"/proc/{process['pid']}").exists()


# Connects as a user with these groups; the descriptor is of the socket, which lies in a folder of root's.
STRANGER = """
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(f"/proc/self/fd/{sys.argv[1]}")
lines = client.makefile("rw")
for method, params in (("hello", {"protocol": 1}), ("status", {}), ("trace.start", {"rule": "feed"})):
    lines.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\\n")
    lines.flush()
    answer = json.loads(lines.readline())
print(json.dumps(answer))
"""
NOBODY = 65534


# The one capability kept lets nobody read a Python that is installed below root's home.
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--bounding-set=-all,+dac_read_search"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


@pytest.mark.parametrize("may", [True, False])
def test_status_is_for_users_who_may_open_the_socket_and_traces_are_for_its_group(studio, may):
    with studio.relaying(FEED) as relay:
        path = Path(control_of(relay))
        assert path.stat().st_mode & 0o777 == 0o660
        path.chmod(0o666)
        groups = f"--groups={path.stat().st_gid}" if may else "--clear-groups"
        descriptor = os.open(path, os.O_PATH)
        command = [*AS_NOBODY, groups, sys.executable, "-I", "-c", STRANGER, str(descriptor)]
        said = subprocess.run(command, pass_fds=[descriptor], capture_output=True, text=True, timeout=60)
        os.close(descriptor)
    answer = json.loads(said.stdout)
    if may:
        assert answer["result"]["rule"] == "feed"
    else:
        assert answer["error"]["code"] == Code.NOT_PERMITTED


# Reloads, with the command line and a real daemon.


def begin_mcrelay(relay, *words):
    command = [sys.executable, "-m", "mcrelay", *words, "--socket", control_of(relay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_mcrelay(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def begun(relay):
    return call(relay, "reload.mark")["begun"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN], ids=["plain", "nohup"])
def test_one_call_of_reload_is_one_reload_even_where_sighup_is_ignored(studio, handler):
    before = signal.signal(signal.SIGHUP, handler)  # what nohup(1) does; children inherit it
    try:
        with studio.relaying(FEED) as relay:
            for number, config in enumerate((studio.config(FEED, OTHER), studio.config(FEED)), start=2):
                relay.config.write_text(config)
                code, out, err = end_mcrelay(begin_mcrelay(relay, "reload"))
                assert (code, err, begun(relay)) == (0, "", number)
                assert out.startswith(f"{relay.config}: applied, generation {number}\n")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_each_of_several_reloads_at_once_is_answered_about_the_files_as_they_are(studio):
    with studio.relaying(FEED) as relay:
        relay.config.write_text(studio.config(FEED, OTHER))
        processes = [begin_mcrelay(relay, "reload", "--json") for _ in range(4)]
        results = [json.loads(end_mcrelay(process)[1]) for process in processes]
        assert {(one["outcome"], one["generation"]) for one in results} <= {("applied", 2), ("unchanged", 2)}
        assert 2 <= begun(relay) <= 5


def test_a_reload_beside_trials_and_confirmations_is_answered_about_the_files(studio):
    with studio.relaying(FEED) as relay:
        relay.config.write_text(studio.config(FEED, OTHER))
        assert end_mcrelay(begin_mcrelay(relay, "try"))[0] == 0
        processes = [begin_mcrelay(relay, *words) for words in (["confirm"], ["reload"], ["reload"])]
        (confirmed, *_), *reloaded = [end_mcrelay(process) for process in processes]
        assert confirmed == 0
        for done in reloaded:
            assert done == (0, f"{relay.config}: unchanged, generation 2 still runs\n", "")
        assert call(relay)["trial"] is None


def test_a_reload_whose_control_process_is_killed_is_answered_by_the_next_one(studio):
    with studio.relaying(FEED) as relay:
        assert call(relay)["rules"]  # the control process has what it needs to answer
        os.kill(relay.process.pid, signal.SIGSTOP)  # the reload cannot end before
        relay.config.write_text(studio.config(FEED, OTHER))
        try:
            with connect(control_of(relay)) as client:
                mark = client.call("reload.verdict")["begun"]
                relay.process.send_signal(signal.SIGHUP)
                processes = client.call("status")["processes"]
                [control] = [one["pid"] for one in processes if one["kind"] == "control"]
                threading.Timer(0.5, os.kill, (control, signal.SIGKILL)).start()
                with pytest.raises(NoAnswer):
                    client.call("reload.wait", begun=mark)
        finally:
            os.kill(relay.process.pid, signal.SIGCONT)
        _, result = call_with_retry(control_of(relay), "reload.wait", 20, begun=mark)
        assert (result["outcome"], result["generation"]) == ("applied", 2)
