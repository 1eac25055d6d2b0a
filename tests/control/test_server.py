"""What the control process answers: the documents, and what it refuses."""

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
from mcrelay.model.drops import SEND_ERROR_NAMES
from mcrelay.protocol.control import Counters, Mark, MarkAnswer, TraceRule, TraceState
from mcrelay.protocol.jsonrpc import MAX_LINE, Code
from tests.support.control_harness import PATIENCE, RESULT, Desk, Memory, interface, process, rule, sections

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/status.schema.json").read_text())
SECONDS = 1_000_000_000  # in nanoseconds


@pytest.fixture
def desk(tmp_path):
    with Desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def client(desk):
    """A client of a daemon with one rule."""
    desk.supervisor.change(**sections())
    return desk.client()


def until(condition):
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def line(method, id=1, **params):
    """Return a request."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


HELLO = line("hello", protocol=1)


def answers(connection, count):
    """Return so many answers."""
    text = b""
    while text.count(b"\n") < count:
        piece = connection.recv(1 << 20)
        assert piece, text
        text += piece
    return [json.loads(one) for one in text.splitlines()]


def is_closed(connection):
    """Tell whether the server closes the connection."""
    try:
        while connection.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass
    return True


# What it tells.


def test_hello_says_who_answers(client):
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


def test_nobody_is_answered_before_there_is_something_to_tell(desk):
    early = desk.raw()
    early.sendall(HELLO)
    early.settimeout(0.2)
    with pytest.raises(TimeoutError):
        early.recv(100)
    desk.supervisor.change(**sections())
    early.settimeout(PATIENCE)
    assert answers(early, 1)[0]["result"]["pid"] == 4711


def test_status_is_what_the_schema_says(desk):
    rules = {"feed": rule(0, outputs=3), "idle": rule(None), "odd": rule(1, description='50 % "\0" of 100%s')}
    desk.supervisor.change(
        **sections(**rules) | {"generation": {"number": 3, "hash": "a" * 64, "accepted": 9.5}}
    )
    desk.memory.rule(packets=5, octets=500, own=2, last_time=int(7.5 * SECONDS), last_source=0xC0A8A837)
    desk.memory.output(1, packets=4, octets=400, ttl=3, **{SEND_ERROR_NAMES[-1]: 2, "EPERM": 1})
    desk.memory.link(packets=9, octets=900, no_rule=4, overrun=1)
    status = desk.client().call("status")
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


def test_status_of_one_rule_has_that_rule_and_all_that_is_none(desk):
    desk.supervisor.change(**sections(feed=rule(0), other=rule(1)))
    client = desk.client()
    whole, one = client.call("status"), client.call("status", rule="other")
    assert [found["name"] for found in one["rules"]] == ["other"]
    assert one["interfaces"] == whole["interfaces"]
    assert set(one) == set(whole)
    jsonschema.validate(one, SCHEMA | {"properties": SCHEMA["properties"] | {"generation": {}}})


def test_list_and_stats_are_the_short_forms(desk, client):
    desk.supervisor.change(
        rules={"set": {"other": rule(1, outputs=2)}},
        statuses={"set": {"other": ["paused", "worker 0 pauses"]}},
    )
    desk.memory.rule(1, packets=5, octets=50, source=1)
    for row in (2, 3):
        desk.memory.output(row, packets=4, octets=40, EPERM=1)
    until(lambda: len(client.call("list")["rules"]) == 2)
    assert client.call("list")["rules"][1] == {
        "name": "other",
        "state": "paused",
        "reason": "worker 0 pauses",
        "file": "/etc/mcrelay.yaml",
        "line": 7,
        "description": "primary feed",
    }
    assert [one["name"] for one in client.call("stats")["rules"]] == ["feed", "other"]
    [other] = client.call("stats", rule="other")["rules"]
    assert other["in"] == {"packets": 5, "octets": 50}
    assert other["out"] == {"packets": 8, "octets": 80}
    assert (other["drops"]["source"], other["drops"]["send_error"]) == (1, 2)


def test_what_changes_is_shown_in_the_order_of_the_file_and_what_is_gone_is_not(desk, client):
    desk.supervisor.change(
        rules={"set": {"a": rule(2), "b": rule(3)}, "gone": ["feed"], "order": ["b", "a"]},
        interfaces={"set": {"plant": interface(1)}, "gone": ["studio"]},
        processes={"set": {"worker 0": process(pid=None, started=None, state="pausing", reason="killed")}},
    )
    until(lambda: len(client.call("list")["rules"]) == 2)
    status = client.call("status")
    assert [one["name"] for one in status["rules"]] == ["b", "a"]
    assert status["rules"][0]["state"] == "unresolved"  # its verdict is on its way
    assert [one["name"] for one in status["interfaces"]] == ["plant"]
    [worker] = status["processes"]
    assert (worker["state"], worker["reason"]) == ("pausing", "killed")
    assert worker["uptime"] is worker["cpu_seconds"] is worker["cpu_percent"] is None


def test_uptime_is_by_the_clock_that_nobody_sets(desk, client):
    ago = time.monotonic() - 50
    desk.supervisor.change(processes={"set": {"worker 0": process(started=ago)}})
    until(lambda: client.call("status")["processes"][0]["uptime"] >= 50)
    assert client.call("status")["processes"][0]["uptime"] <= time.monotonic() - ago


def test_the_counters_of_all_workers_are_one_and_rates_come_after_a_while(desk, client):
    second = Memory()
    desk.supervisor.tell(Counters(1), second.descriptor)
    for memory in (desk.memory, second):
        memory.rule(packets=100, octets=1000, last_time=SECONDS)
    second.rule(last_time=2 * SECONDS, last_source=1)

    def traffic():
        return client.call("status")["rules"][0]["input"]

    until(lambda: traffic()["packets"] == 200)
    assert traffic()["last_packet"]["source"] == "0.0.0.1"
    until(lambda: traffic()["packets_per_second"] == 0)
    second.rule(packets=1100, octets=11_000)
    until(lambda: traffic()["packets_per_second"] > 0)
    assert traffic()["bits_per_second"] == pytest.approx(80 * traffic()["packets_per_second"], rel=0.1)


def test_the_verdict_of_the_last_reload_is_told_as_it_is(client):
    assert client.call("reload.verdict") == RESULT


def test_a_mark_is_what_the_supervisor_says_and_nobody_else_waits_for_it(desk, client):
    waiting = desk.raw()
    waiting.sendall(HELLO + line("reload.mark") + line("list"))
    answers(waiting, 1)
    mark = desk.supervisor.asked()
    assert isinstance(mark, Mark)
    assert client.call("reload.verdict") == RESULT
    desk.supervisor.tell(MarkAnswer(mark.mark, 4))
    marked, listed = answers(waiting, 2)
    assert marked["result"] == {"begun": 4}
    assert "rules" in listed["result"]


def test_a_client_that_goes_before_its_mark_comes_harms_nobody(desk, client):
    impatient = desk.raw()
    impatient.sendall(HELLO + line("reload.mark"))
    answers(impatient, 1)
    mark = desk.supervisor.asked()
    impatient.close()
    desk.supervisor.tell(MarkAnswer(mark.mark, 1))
    assert client.call("reload.verdict") == RESULT


def has_data(connection):
    return bool(select.select([connection], [], [], 0)[0])


def later_result(number, **fields):
    return {**RESULT, "begun": number, "finished": number, "cause": "hangup", **fields}


def test_a_client_waits_for_a_reload_until_its_result_stands_and_nobody_else_does(desk, client):
    waiting = desk.raw()
    waiting.sendall(HELLO + line("reload.wait", begun=1) + line("list"))
    answers(waiting, 1)
    assert client.call("reload.verdict") == RESULT
    desk.supervisor.change(reload={**RESULT, "begun": 2})
    until(lambda: client.call("reload.verdict")["begun"] == 2)
    assert not has_data(waiting)
    confirmed = later_result(3, cause="confirm", is_about_files=False)
    desk.supervisor.change(reload={**confirmed, "begun": 3, "earlier": [later_result(2), RESULT]})
    result, listed = answers(waiting, 2)
    assert (result["result"]["finished"], result["result"]["cause"]) == (2, "hangup")
    assert "earlier" not in result["result"]
    assert "rules" in listed["result"]
    assert client.call("reload.wait", begun=1, cause="confirm")["finished"] == 3
    assert not has_data(desk.supervisor.channel), "the supervisor is not asked"


def test_a_client_that_waits_in_vain_is_answered_after_a_while(desk, monkeypatch):
    monkeypatch.setattr(server, "BEAT_S", 0.05)
    monkeypatch.setattr(reload_waits, "MAX_WAIT_S", 0.2)
    desk.supervisor.change(**sections())
    client = desk.client()
    assert client.call("reload.wait", begun=1) is None
    assert client.call("reload.wait", begun=0)["finished"] == 1


def test_a_client_that_goes_while_it_waits_for_a_reload_harms_nobody(desk, client):
    for _ in range(3):
        impatient = desk.raw()
        impatient.sendall(HELLO + line("reload.wait", begun=1))
        answers(impatient, 1)
        impatient.close()
    waiting = desk.raw()
    waiting.sendall(HELLO + line("reload.wait", begun=1))
    answers(waiting, 1)
    desk.supervisor.change(reload=later_result(2))
    [result] = answers(waiting, 1)
    assert result["result"]["finished"] == 2
    assert client.call("list")["rules"]


def test_a_client_that_waits_for_a_reload_makes_room_for_others(desk, client):
    waiting = desk.raw()
    waiting.sendall(HELLO + line("reload.wait", begun=1))
    answers(waiting, 1)
    client.call("list")
    others = [desk.raw() for _ in range(MAX_CLIENTS - 1)]
    assert is_closed(waiting)
    desk.supervisor.change(reload=later_result(2))
    until(lambda: client.call("reload.verdict")["finished"] == 2)
    assert len(others) == MAX_CLIENTS - 1


def test_a_trace_begins_when_the_supervisor_says_so(desk, client):
    tracer = desk.raw()
    tracer.sendall(HELLO + line("trace.start", rule="feed"))
    assert desk.supervisor.asked() == TraceRule("feed", True)
    desk.supervisor.tell(TraceState("feed", 0, (), "worker 0 has no memory left"))
    _, refused = answers(tracer, 2)
    assert refused["error"]["code"] == Code.NOT_TRACEABLE
    assert "no memory left" in refused["error"]["message"]


def test_a_rule_that_does_not_run_is_not_traced_and_the_answer_says_why(desk, client):
    desk.supervisor.change(statuses={"set": {"feed": ["disabled", "`enabled: false` in the file"]}})
    until(lambda: client.call("list")["rules"][0]["state"] == "disabled")
    with pytest.raises(RequestFailed, match="it is disabled: `enabled: false`") as refused:
        client.call("trace.start", rule="feed")
    assert refused.value.code == Code.NOT_TRACEABLE
    assert refused.value.data["state"] == "disabled"


def test_a_trace_that_nobody_has_cannot_be_read_or_stopped(client):
    for method in ("trace.read", "trace.stop"):
        with pytest.raises(RequestFailed) as refused:
            client.call(method, trace=7)
        assert refused.value.code == Code.NO_SUCH_TRACE
    with pytest.raises(RequestFailed, match="`most`"):
        client.call("trace.read", trace=7, most=0)


# What it refuses.


def test_an_unknown_rule_is_answered_with_those_that_were_meant(desk, client):
    for method in ("status", "stats", "trace.start"):
        with pytest.raises(RequestFailed, match="no rule is named `fed`; did you mean `feed`") as refused:
            client.call(method, rule="fed")
        assert (refused.value.code, refused.value.data) == (Code.UNKNOWN_RULE, {"names": ["feed"]})
    with pytest.raises(RequestFailed, match=r"no rule is named `x`$") as refused:
        client.call("status", rule="x")
    assert refused.value.data == {"names": []}


def test_an_unknown_method_is_answered_with_those_that_there_are(client):
    with pytest.raises(
        RequestFailed, match="no method is named `reload`; there are: hello, status"
    ) as refused:
        client.call("reload")
    assert refused.value.code == Code.METHOD_NOT_FOUND


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (line("status"), Code.WRONG_PROTOCOL),
        (line("hello", protocol=2), Code.WRONG_PROTOCOL),
        (line("hello"), Code.INVALID_PARAMS),
        (b"GET / HTTP/1.1\r\n", Code.PARSE_ERROR),
    ],
)
def test_who_does_not_begin_with_a_hello_is_told_so_and_cut_off(desk, client, first, code):
    stranger = desk.raw()
    stranger.sendall(first + HELLO)
    [answer] = answers(stranger, 1)
    assert answer["error"]["code"] == code
    if code == Code.WRONG_PROTOCOL:
        assert answer["error"]["data"] == {"protocol": 1}
    assert is_closed(stranger)


def test_a_mistake_in_a_request_costs_that_request_alone(desk, client):
    clumsy = desk.raw()
    clumsy.sendall(HELLO + b"[]\n" + b"{}\n" + b"[" * 10_000 + b"\n" + line("status", id="last"))
    hello, *wrong, last = answers(clumsy, 5)
    assert "result" in hello
    assert [one["error"]["code"] for one in wrong] == [-32600, -32600, -32700]
    assert last["id"] == "last"
    assert "result" in last


def test_notifications_are_carried_out_and_not_answered(desk, client):
    quiet = desk.raw()
    notification = b'{"jsonrpc": "2.0", "method": "%b", "params": {}}\n'
    quiet.sendall(HELLO + notification % b"status" + notification % b"nonsense" + line("list", id=7))
    assert [one["id"] for one in answers(quiet, 2)] == [1, 7]


def test_a_line_that_does_not_end_is_cut_off_with_a_word(desk, client):
    endless = desk.raw()
    endless.sendall(HELLO)
    answers(endless, 1)
    try:
        endless.sendall(b"x" * (1 << 20))
    except OSError:
        pass
    [answer] = answers(endless, 1)
    assert f"at most {MAX_LINE} octets" in answer["error"]["message"]
    assert is_closed(endless)
    assert client.call("reload.verdict") == RESULT


def test_a_client_that_has_said_all_it_wants_still_gets_all_answers(desk, client):
    script = desk.raw()
    script.sendall(HELLO + line("status") * 3)
    script.shutdown(socket.SHUT_WR)
    assert len(answers(script, 4)) == 4
    assert is_closed(script)


def test_when_there_are_too_many_the_one_that_asked_longest_ago_goes(desk, client):
    first = desk.raw()
    first.sendall(HELLO)
    answers(first, 1)
    client.call("list")
    others = [desk.raw() for _ in range(MAX_CLIENTS - 1)]
    assert is_closed(first)
    assert client.call("reload.verdict") == RESULT
    assert len(others) == MAX_CLIENTS - 1


def test_a_mistake_of_our_own_costs_one_request_and_is_logged_in_a_line(desk, client, capfd):
    desk.supervisor.change(processes={"set": {"broken": {"pid": None}}}, reload=RESULT | {"begun": 2})
    until(lambda: client.call("reload.verdict")["begun"] == 2)
    with pytest.raises(RequestFailed) as refused:
        client.call("status")
    assert refused.value.code == Code.INTERNAL_ERROR
    assert client.call("list")["rules"]
    assert capfd.readouterr().err == "control: cannot answer `status`: KeyError('kind')\n"


def test_clients_come_in_at_another_socket_and_those_that_were_there_stay(desk, client):
    desk.listen_anew()
    until(lambda: _gets_in(desk))
    assert client.call("list")["rules"]


def _gets_in(desk):
    try:
        return desk.client().call("list")["rules"]
    except (NotRunning, NoAnswer):
        return False


def test_it_shows_the_supervisor_that_it_lives(desk, monkeypatch):
    monkeypatch.setattr(server, "BEAT_S", 0.05)
    desk.supervisor.change(**sections())
    until(lambda: os.pread(desk.pulse, 8, 0))
    before = os.pread(desk.pulse, 8, 0)
    until(lambda: os.pread(desk.pulse, 8, 0) > before)


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_who_comes_while_the_system_has_no_room_is_let_in_later(tmp_path, shortage):
    listener, selector = _Full(shortage), selectors.SelectSelector()
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


class _Full:
    """A listening socket of a system that has no room."""

    def __init__(self, shortage):
        self.asked = 0
        self._shortage = shortage

    def accept(self):
        self.asked += 1
        raise OSError(self._shortage, "no room")
