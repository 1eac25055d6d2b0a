"""The answers of the control process: documents, errors, and what ends a connection."""

import errno
import json
import os
import select
import selectors
import socket
import time
from pathlib import Path

import jsonschema
import pytest

from mcrelay.client.connection import NoAnswer, NotRunning, RequestFailed
from mcrelay.control import reload_waits, server
from mcrelay.control.clients import MAX_CLIENTS, Clients
from mcrelay.control.methods import METHODS
from mcrelay.model.send_errors import SEND_ERROR_NAMES
from mcrelay.protocol.control import Counters, Mark, MarkAnswer, TraceRule, TraceState
from mcrelay.protocol.jsonrpc import MAX_LINE, Code
from tests.support.control_harness import (
    RESULT,
    TIMEOUT_S,
    Memory,
    ServerHarness,
    interface,
    process,
    rule,
    sections,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/status.schema.json").read_text())
SECONDS = 1_000_000_000  # in nanoseconds


@pytest.fixture
def harness(tmp_path):
    with ServerHarness(tmp_path) as harness:
        yield harness


@pytest.fixture
def client(harness):
    """A client of a daemon with one rule."""
    harness.supervisor.change(**sections())
    return harness.client()


def wait_for(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def encode_request(method, id=1, **params):
    """Return a request."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


HELLO = encode_request("hello", protocol=1)


def receive_answers(connection, count):
    """Return this number of answers."""
    text = b""
    while text.count(b"\n") < count:
        piece = connection.recv(1 << 20)
        assert piece, text
        text += piece
    return [json.loads(one) for one in text.splitlines()]


def is_closed(connection):
    """Return True once the server closes the connection."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True


# Documents.


def test_hello_names_the_daemon_and_its_methods(client):
    assert client.greeting == {
        "protocol": 1,
        "version": "0.1.0",
        "pid": 4711,
        "config": "/etc/mcrelay.yaml",
        "run_dir": "/run/mcrelay",
        "state_dir": "/var/lib/mcrelay",
        "watch": True,
        "uid": os.geteuid(),
        "generation": 1,
        "hash": "abc",
        "methods": list(METHODS),
    }


def test_no_client_is_answered_before_the_whole_first_snapshot(harness):
    harness.supervisor.change(rules={"set": {"early": rule(row=1)}})  # of many rules, some come first
    early = harness.connect_raw()
    early.sendall(HELLO)
    early.settimeout(0.2)
    with pytest.raises(TimeoutError):
        early.recv(100)
    harness.supervisor.change(**sections())
    early.settimeout(TIMEOUT_S)
    assert receive_answers(early, 1)[0]["result"]["pid"] == 4711


def test_status_conforms_to_the_schema(harness):
    rules = {"feed": rule(0, outputs=3), "idle": rule(None), "odd": rule(1, description='50 % "\0" of 100%s')}
    harness.supervisor.change(
        **sections(**rules) | {"generation": {"number": 3, "hash": "a" * 64, "accepted": 9.5, "settings": {}}}
    )
    harness.memory.rule(packets=5, octets=500, own=2, last_time=int(7.5 * SECONDS), last_source=0xC0A8A837)
    harness.memory.output(1, packets=4, octets=400, ttl=3, **{SEND_ERROR_NAMES[-1]: 2, "EPERM": 1})
    harness.memory.link(packets=9, octets=900, no_rule=4, overrun=1)
    status = harness.client().call("status")
    jsonschema.validate(status, SCHEMA)
    feed, idle, odd = status["rules"]
    assert [feed["input"][name] for name in ("packets", "octets")] == [5, 500]
    last = feed["input"]["last_packet"]
    assert (last["time"], last["source"]) == (7.5, "192.168.168.55")
    assert last["age"] == pytest.approx(status["time"] - 7.5)
    assert feed["outputs"][1]["drops"] == {"ttl": 3, "send_error": {"EPERM": 1, "other": 2}}
    assert feed["dropped"] == 2 + 3 + 3
    assert idle["input"]["last_packet"] is None
    assert idle["input"]["packets"] == idle["outputs"][0]["packets"] == 0
    assert odd["description"] == '50 % "\0" of 100%s'
    [studio] = status["interfaces"]
    assert (studio["packets"], studio["drops"]["no_rule"], studio["drops"]["overrun"]) == (9, 4, 1)


def test_status_of_one_rule_has_that_rule_and_all_other_sections(harness):
    harness.supervisor.change(**sections(feed=rule(0), other=rule(1)))
    client = harness.client()
    whole, one = client.call("status"), client.call("status", rule="other")
    assert [found["name"] for found in one["rules"]] == ["other"]
    assert one["interfaces"] == whole["interfaces"]
    assert set(one) == set(whole)
    jsonschema.validate(one, SCHEMA | {"properties": SCHEMA["properties"] | {"generation": {}}})


def test_list_and_stats_are_parts_of_status(harness, client):
    harness.supervisor.change(
        rules={"set": {"other": rule(1, outputs=2)}},
        statuses={"set": {"other": ["paused", "worker 0 pauses"]}},
    )
    harness.memory.rule(1, packets=5, octets=50, source=1)
    for row in (2, 3):
        harness.memory.output(row, packets=4, octets=40, EPERM=1)
    wait_for(lambda: len(client.call("list")["rules"]) == 2)
    assert client.call("list")["rules"][1] == {
        "name": "other",
        "state": "paused",
        "reason": "worker 0 pauses",
        "hint": "",
        "file": "/etc/mcrelay.yaml",
        "line": 7,
        "description": "primary feed",
    }
    assert [one["name"] for one in client.call("stats")["rules"]] == ["feed", "other"]
    [other] = client.call("stats", rule="other")["rules"]
    assert (other["state"], other["reason"]) == ("paused", "worker 0 pauses")
    assert other["in"] == {"packets": 5, "octets": 50}
    assert other["out"] == {"packets": 8, "octets": 80}
    assert (other["drops"]["source"], other["drops"]["send_error"]) == (1, 2)


def test_changed_rules_are_in_the_order_of_the_file_and_removed_ones_are_absent(harness, client):
    harness.supervisor.change(
        rules={"set": {"a": rule(2), "b": rule(3)}, "gone": ["feed"], "order": ["b", "a"]},
        interfaces={"set": {"plant": interface(1)}, "gone": ["studio"]},
        processes={"set": {"worker 0": process(pid=None, started=None, state="pausing", reason="killed")}},
    )
    wait_for(lambda: len(client.call("list")["rules"]) == 2)
    status = client.call("status")
    assert [one["name"] for one in status["rules"]] == ["b", "a"]
    assert status["rules"][0]["state"] == "unresolved"  # its status has not arrived yet
    assert [one["name"] for one in status["interfaces"]] == ["plant"]
    [worker] = status["processes"]
    assert (worker["state"], worker["reason"]) == ("pausing", "killed")
    assert worker["uptime"] is worker["cpu_seconds"] is worker["cpu_percent"] is None


def test_uptime_is_measured_with_the_monotonic_clock(harness, client):
    ago = time.monotonic() - 50
    harness.supervisor.change(processes={"set": {"worker 0": process(started=ago)}})
    wait_for(lambda: client.call("status")["processes"][0]["uptime"] >= 50)
    assert client.call("status")["processes"][0]["uptime"] <= time.monotonic() - ago


def test_counters_are_the_sum_over_workers_and_rates_come_after_a_second(harness, client):
    second = Memory()
    harness.supervisor.send(Counters(1), second.descriptor)
    for memory in (harness.memory, second):
        memory.rule(packets=100, octets=1000, last_time=SECONDS)
    second.rule(last_time=2 * SECONDS, last_source=1)

    def traffic():
        return client.call("status")["rules"][0]["input"]

    wait_for(lambda: traffic()["packets"] == 200)
    assert traffic()["last_packet"]["source"] == "0.0.0.1"
    wait_for(lambda: traffic()["packets_per_second"] == 0)
    second.rule(packets=1100, octets=11_000)
    wait_for(lambda: traffic()["packets_per_second"] > 0)
    assert traffic()["bits_per_second"] == pytest.approx(80 * traffic()["packets_per_second"], rel=0.1)


def test_the_result_of_the_last_reload_is_that_of_the_snapshot(client):
    assert client.call("reload.verdict") == RESULT


def test_a_mark_comes_from_the_supervisor_and_no_other_client_waits_for_it(harness, client):
    waiting = harness.connect_raw()
    waiting.sendall(HELLO + encode_request("reload.mark") + encode_request("list"))
    receive_answers(waiting, 1)
    mark = harness.supervisor.next_request()
    assert isinstance(mark, Mark)
    assert client.call("reload.verdict") == RESULT
    harness.supervisor.send(MarkAnswer(mark.mark, 4))
    marked, listed = receive_answers(waiting, 2)
    assert marked["result"] == {"begun": 4}
    assert "rules" in listed["result"]


def test_a_client_that_disconnects_before_its_mark_arrives_harms_no_other(harness, client):
    impatient = harness.connect_raw()
    impatient.sendall(HELLO + encode_request("reload.mark"))
    receive_answers(impatient, 1)
    mark = harness.supervisor.next_request()
    impatient.close()
    harness.supervisor.send(MarkAnswer(mark.mark, 1))
    assert client.call("reload.verdict") == RESULT


def has_data(connection):
    return bool(select.select([connection], [], [], 0)[0])


def later_result(number, **fields):
    return {**RESULT, "begun": number, "finished": number, "cause": "hangup", **fields}


def test_a_client_waits_for_the_result_of_a_reload_and_no_other_client_does(harness, client):
    waiting = harness.connect_raw()
    waiting.sendall(HELLO + encode_request("reload.wait", begun=1) + encode_request("list"))
    receive_answers(waiting, 1)
    assert client.call("reload.verdict") == RESULT
    harness.supervisor.change(reload={**RESULT, "begun": 2})
    wait_for(lambda: client.call("reload.verdict")["begun"] == 2)
    assert not has_data(waiting)
    confirmed = later_result(3, cause="confirm", is_about_files=False)
    harness.supervisor.change(reload={**confirmed, "begun": 3, "earlier": [later_result(2), RESULT]})
    result, listed = receive_answers(waiting, 2)
    assert (result["result"]["finished"], result["result"]["cause"]) == (2, "hangup")
    assert "earlier" not in result["result"]
    assert "rules" in listed["result"]
    assert client.call("reload.wait", begun=1, cause="confirm")["finished"] == 3
    assert not has_data(harness.supervisor.channel), "the supervisor is not asked"


@pytest.mark.parametrize(
    ("cause", "outcome", "is_about_files", "shown"),
    [
        ("hangup", "rejected", True, "rejected"),
        ("deadline", "rolled_back", False, "rolled_back"),
        ("confirm", "confirmed", False, "started"),
        ("try", "refused", False, "started"),
    ],
)
def test_the_status_shows_the_last_result_about_the_files_or_a_rollback(
    harness, client, cause, outcome, is_about_files, shown
):
    result = later_result(2, cause=cause, outcome=outcome, is_about_files=is_about_files)
    harness.supervisor.change(reload={**result, "earlier": [RESULT]})
    wait_for(lambda: client.call("reload.verdict")["finished"] == 2)
    assert client.call("status")["reload"]["outcome"] == shown


def test_the_status_shows_the_last_result_if_none_is_about_the_files(harness, client):
    harness.supervisor.change(reload=later_result(2, outcome="refused", is_about_files=False))
    wait_for(lambda: client.call("reload.verdict")["finished"] == 2)
    assert client.call("status")["reload"]["outcome"] == "refused"


def test_a_wait_without_a_result_is_answered_after_a_timeout(harness, monkeypatch):
    monkeypatch.setattr(server, "BEAT_S", 0.05)
    monkeypatch.setattr(reload_waits, "MAX_WAIT_S", 0.2)
    harness.supervisor.change(**sections())
    client = harness.client()
    assert client.call("reload.wait", begun=1) is None
    assert client.call("reload.wait", begun=0)["finished"] == 1


def test_a_client_that_disconnects_while_it_waits_for_a_reload_harms_no_other(harness, client):
    for _ in range(3):
        impatient = harness.connect_raw()
        impatient.sendall(HELLO + encode_request("reload.wait", begun=1))
        receive_answers(impatient, 1)
        impatient.close()
    waiting = harness.connect_raw()
    waiting.sendall(HELLO + encode_request("reload.wait", begun=1))
    receive_answers(waiting, 1)
    harness.supervisor.change(reload=later_result(2))
    [result] = receive_answers(waiting, 1)
    assert result["result"]["finished"] == 2
    assert client.call("list")["rules"]


def test_a_client_that_waits_for_a_reload_makes_room_for_others(harness, client):
    waiting = harness.connect_raw()
    waiting.sendall(HELLO + encode_request("reload.wait", begun=1))
    receive_answers(waiting, 1)
    for _ in range(2):  # the first answer may come in the turn of `reload.wait`, the second comes later
        client.call("list")
    others = [greeted(harness) for _ in range(MAX_CLIENTS - 1)]
    assert is_closed(waiting)
    harness.supervisor.change(reload=later_result(2))
    wait_for(lambda: client.call("reload.verdict")["finished"] == 2)
    assert len(others) == MAX_CLIENTS - 1


def test_a_trace_begins_with_the_answer_of_the_supervisor(harness, client):
    tracer = harness.connect_raw()
    tracer.sendall(HELLO + encode_request("trace.start", rule="feed"))
    assert harness.supervisor.next_request() == TraceRule("feed", True)
    harness.supervisor.send(TraceState("feed", 0, (), "worker 0 has no memory left"))
    _, refused = receive_answers(tracer, 2)
    assert refused["error"]["code"] == Code.NOT_TRACEABLE
    assert "no memory left" in refused["error"]["message"]


def test_a_rule_that_does_not_run_is_not_traced_and_the_answer_says_why(harness, client):
    harness.supervisor.change(statuses={"set": {"feed": ["disabled", "`enabled: false` in the file"]}})
    wait_for(lambda: client.call("list")["rules"][0]["state"] == "disabled")
    with pytest.raises(RequestFailed, match="it is disabled: `enabled: false`") as refused:
        client.call("trace.start", rule="feed")
    assert refused.value.code == Code.NOT_TRACEABLE
    assert refused.value.data["state"] == "disabled"


def test_an_unknown_trace_cannot_be_read_or_stopped(client):
    for method in ("trace.read", "trace.stop"):
        with pytest.raises(RequestFailed) as refused:
            client.call(method, trace=7)
        assert refused.value.code == Code.NO_SUCH_TRACE
    with pytest.raises(RequestFailed, match="`most`"):
        client.call("trace.read", trace=7, most=0)


# What it refuses.


def test_an_unknown_rule_is_answered_with_similar_names(harness, client):
    for method in ("status", "stats", "trace.start"):
        with pytest.raises(RequestFailed, match="no rule is named `fed`; did you mean `feed`") as refused:
            client.call(method, rule="fed")
        assert (refused.value.code, refused.value.data) == (Code.UNKNOWN_RULE, {"names": ["feed"]})
    with pytest.raises(RequestFailed, match=r"no rule is named `x`$") as refused:
        client.call("status", rule="x")
    assert refused.value.data == {"names": []}


def test_an_unknown_method_is_answered_with_the_known_ones(client):
    with pytest.raises(
        RequestFailed, match="no method is named `reload`; there are: hello, status"
    ) as refused:
        client.call("reload")
    assert refused.value.code == Code.METHOD_NOT_FOUND


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (encode_request("status"), Code.WRONG_PROTOCOL),
        (encode_request("hello", protocol=2), Code.WRONG_PROTOCOL),
        (encode_request("hello"), Code.INVALID_PARAMS),
        (b"GET / HTTP/1.1\r\n", Code.PARSE_ERROR),
    ],
)
def test_a_client_that_does_not_begin_with_hello_gets_an_error_and_is_cut_off(harness, client, first, code):
    stranger = harness.connect_raw()
    stranger.sendall(first + HELLO)
    [answer] = receive_answers(stranger, 1)
    assert answer["error"]["code"] == code
    if code == Code.WRONG_PROTOCOL:
        assert answer["error"]["data"] == {"protocol": 1}
    assert is_closed(stranger)


def test_an_error_in_a_request_fails_that_request_alone(harness, client):
    clumsy = harness.connect_raw()
    clumsy.sendall(HELLO + b"[]\n" + b"{}\n" + b"[" * 10_000 + b"\n" + encode_request("status", id="last"))
    hello, *wrong, last = receive_answers(clumsy, 5)
    assert "result" in hello
    assert [one["error"]["code"] for one in wrong] == [-32600, -32600, -32700]
    assert last["id"] == "last"
    assert "result" in last


def test_notifications_are_carried_out_and_not_answered(harness, client):
    quiet = harness.connect_raw()
    notification = b'{"jsonrpc": "2.0", "method": "%b", "params": {}}\n'
    quiet.sendall(
        HELLO + notification % b"status" + notification % b"nonsense" + encode_request("list", id=7)
    )
    assert [one["id"] for one in receive_answers(quiet, 2)] == [1, 7]


def test_a_line_without_an_end_is_answered_with_an_error_and_cut_off(harness, client):
    endless = harness.connect_raw()
    endless.sendall(HELLO)
    receive_answers(endless, 1)
    try:
        endless.sendall(b"x" * (1 << 20))
    except OSError:
        pass
    [answer] = receive_answers(endless, 1)
    assert f"at most {MAX_LINE} bytes" in answer["error"]["message"]
    assert is_closed(endless)
    assert client.call("reload.verdict") == RESULT


def test_a_client_that_shuts_down_its_side_still_gets_all_answers(harness, client):
    script = harness.connect_raw()
    script.sendall(HELLO + encode_request("status") * 3)
    script.shutdown(socket.SHUT_WR)
    assert len(receive_answers(script, 4)) == 4
    assert is_closed(script)


def greeted(harness):
    """Return a new connection that has said hello."""
    client = harness.connect_raw()
    client.sendall(HELLO)
    receive_answers(client, 1)
    return client


def test_of_too_many_clients_the_one_idle_longest_is_cut_off(harness, client):
    first = harness.connect_raw()
    first.sendall(HELLO)
    receive_answers(first, 1)
    client.call("list")
    others = [greeted(harness) for _ in range(MAX_CLIENTS - 1)]
    assert is_closed(first)
    assert client.call("reload.verdict") == RESULT
    assert len(others) == MAX_CLIENTS - 1


def test_clients_that_do_not_say_hello_displace_each_other_and_no_other(harness, client):
    idle = greeted(harness)
    silent = [harness.connect_raw() for _ in range(MAX_CLIENTS + 1)]
    assert is_closed(silent[0])
    assert client.call("reload.verdict") == RESULT
    idle.sendall(encode_request("list"))
    assert receive_answers(idle, 1)
    silent[-1].sendall(HELLO)
    assert receive_answers(silent[-1], 1)


def test_a_bug_fails_one_request_and_is_logged_in_one_line(harness, client, capfd):
    harness.supervisor.change(processes={"set": {"broken": {"pid": None}}}, reload=RESULT | {"begun": 2})
    wait_for(lambda: client.call("reload.verdict")["begun"] == 2)
    with pytest.raises(RequestFailed) as refused:
        client.call("status")
    assert refused.value.code == Code.INTERNAL_ERROR
    assert client.call("list")["rules"]
    assert capfd.readouterr().err == "control: cannot answer `status`: KeyError('kind')\n"


def test_clients_connect_to_a_replaced_socket_and_earlier_ones_stay(harness, client):
    harness.replace_listener()
    wait_for(lambda: _is_accepted(harness))
    assert client.call("list")["rules"]


def _is_accepted(harness):
    try:
        return harness.client().call("list")["rules"]
    except (NotRunning, NoAnswer):
        return False


def test_it_writes_its_heartbeat(harness, monkeypatch):
    monkeypatch.setattr(server, "BEAT_S", 0.05)
    harness.supervisor.change(**sections())
    wait_for(lambda: os.pread(harness.heartbeat, 8, 0))
    before = os.pread(harness.heartbeat, 8, 0)
    wait_for(lambda: os.pread(harness.heartbeat, 8, 0) > before)


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_client_that_connects_while_the_system_has_no_room_is_accepted_later(tmp_path, shortage):
    listener, selector = _ListenerWithoutRoom(shortage), selectors.SelectSelector()
    ours, theirs = socket.socketpair()
    ours.send(b"somebody knocks")
    listener.fileno = theirs.fileno
    waiting = Clients(selector, None, None)
    waiting.listen(listener)
    with ours, theirs:
        for _ in range(3):
            for key, events in selector.select(0):
                key.data(events)
        assert listener.asked == 1
        waiting.resume_accepting()
        waiting.resume_accepting()
        [(key, events)] = selector.select(0)
        key.data(events)
        assert listener.asked == 2
    selector.close()


class _ListenerWithoutRoom:
    """A listening socket of a system without descriptors or memory."""

    def __init__(self, shortage):
        self.asked = 0
        self._shortage = shortage

    def accept(self):
        self.asked += 1
        raise OSError(self._shortage, "no room")
