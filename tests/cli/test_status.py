"""`mcrelay status`, `list` and `stats` with a fake daemon, and with none."""

import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mcrelay.cli import main, session
from mcrelay.cli.status import find_troubles
from mcrelay.lab.command import wait_until
from tests.support.fake_daemon import GREETING, serve_answers, serve_clients
from tests.support.status_documents import (
    DOCUMENT,
    REJECTED,
    RELOAD,
    TRIAL,
    document,
    idle,
    interface,
    process,
    rule,
)

UNLIKE = {"error": {"code": -32001, "message": "no rule is named `x`", "data": {"names": []}}}
UNKNOWN = {"error": {"code": -32001, "message": "no rule is named `x`", "data": {"names": ["camera"]}}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


def run_verb(capsys, *words):
    """Run a verb; return exit code, lines of output and standard error."""
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


# What `status` shows.


def test_status_shows_the_overview(path, capsys):
    with serve_answers(path, status=document()) as at:
        code, lines, err = run_verb(capsys, "status", "--socket", at)
    assert (code, err) == (0, "")
    assert lines[0].startswith("mcrelay 0.1.0, process 4710")
    assert any(line.startswith("camera  active") for line in lines)


def test_status_of_a_rule_requests_it_and_shows_it_in_detail(path, capsys):
    with serve_answers(path, status=lambda rule: document(idle(rule, "failed", "why"))) as at:
        code, lines, _ = run_verb(capsys, "status", "camera", "--socket", at)
    assert (code, lines[0]) == (0, "camera: failed: why")


def test_json_is_the_answer_of_the_daemon_on_one_line(path, capsys):
    with serve_answers(path, status=document(), list={"version": 1}, stats={"version": 1, "rules": []}) as at:
        assert json.loads(run_verb(capsys, "status", "--json", "--socket", at)[1][0]) == DOCUMENT
        assert run_verb(capsys, "list", "--json", "--socket", at)[1] == ['{"version": 1}']
        assert run_verb(capsys, "stats", "--json", "--socket", at)[1] == ['{"version": 1, "rules": []}']


def test_status_exits_with_5_only_with_exit_code(path, capsys):
    with serve_answers(path, status=document(idle("late", "unresolved", "why"))) as at:
        assert run_verb(capsys, "status", "--socket", at)[0] == 0
        code, _, err = run_verb(capsys, "status", "--exit-code", "--socket", at)
    assert (code, err) == (5, "mcrelay: degraded: 1 rule not running, or only in part: late\n")
    path.unlink()
    with serve_answers(path, status=document()) as at:
        assert run_verb(capsys, "status", "--exit-code", "--socket", at)[0] == 0


def test_a_daemon_that_does_not_answer_is_degraded_with_exit_code(path, capsys):
    with serve_clients(path, lambda client: client.close()):
        code, lines, err = run_verb(capsys, "status", "--exit-code", "--socket", str(path))
        assert run_verb(capsys, "status", "--socket", str(path))[0] == 1
    assert (code, lines) == (5, [])
    assert err == f"mcrelay: degraded: mcrelay closed the connection at {path}\n"


# What makes `status --exit-code` exit with 5.


def troubles_of(*rules, **fields):
    return list(find_troubles(document(*rules, **fields)))


def test_a_healthy_relay_has_no_troubles():
    assert troubles_of(rule(), idle("off", "disabled", "`enabled: false` in the file")) == []


def test_a_rule_that_does_not_run_or_only_in_part_is_trouble():
    rules = (
        rule("well"),
        idle("late", "unresolved", "why"),
        rule("half", reason="1 of 2 outputs does not run"),
    )
    assert troubles_of(*rules) == ["2 rules not running, or only in part: late, half"]


def test_a_rejected_file_is_trouble():
    invalid = {**DOCUMENT["files"], "state": "invalid", "problems": REJECTED["problems"], "problem_count": 1}
    assert troubles_of(reload=REJECTED, files=invalid) == ["the last reload rejected the file"]
    assert troubles_of(reload=REJECTED) == []  # the files were restored since
    assert troubles_of(files=invalid) == [
        "the files on disk are invalid: a reload or a restart would refuse them"
    ]


def test_files_are_trouble_if_a_reload_would_change_a_rule():
    differ = {**DOCUMENT["files"], "state": "differ"}
    assert troubles_of(files=differ) == []
    differ["changes"] = {**differ["changes"], "added_count": 1}
    assert troubles_of(files=differ) == ["the files differ from what runs: `mcrelay reload` applies them"]


def test_a_file_that_was_rolled_back_is_trouble_and_one_on_trial_is_not():
    rolled_back = {**RELOAD, "outcome": "rolled_back"}
    assert troubles_of(reload=rolled_back) == [
        "the file was rolled back: the last confirmed configuration runs"
    ]
    assert troubles_of(trial=TRIAL) == []


def test_a_dead_process_is_trouble_until_it_is_restarted():
    dead = process("worker 0", "worker", state="pausing", pid=None)
    assert troubles_of(processes=[dead, process("control", "control")]) == [
        "died, and not restarted yet: worker 0"
    ]
    assert (
        troubles_of(processes=[process("worker 0", "worker", restarts=3, reason="killed by SIGKILL")]) == []
    )


# `list` and `stats`.


def test_list_shows_states_places_and_reasons(path, capsys):
    place = {"file": "/etc/mcrelay.yaml", "line": 3}
    rules = [
        {
            "name": "camera",
            "state": "active",
            "reason": "",
            "hint": "",
            "description": "primary feed",
            **place,
        },
        {
            "name": "late",
            "state": "unresolved",
            "reason": "device eth9 is absent",
            "hint": "",
            "description": "x",
            **place,
        },
        {
            "name": "silent",
            "state": "active",
            "reason": "",
            "hint": "nothing on eth0",
            "description": "x",
            **place,
        },
        {"name": "plain", "state": "active", "reason": "", "hint": "", "description": "", **place},
    ]
    with serve_answers(path, list={"version": 1, "rules": rules}) as at:
        assert run_verb(capsys, "list", "--socket", at)[:2] == (0, [
            "RULE    STATE       FILE",
            "camera  active      /etc/mcrelay.yaml:3  primary feed",
            "late    unresolved  /etc/mcrelay.yaml:3  device eth9 is absent",
            "silent  active      /etc/mcrelay.yaml:3  nothing on eth0",
            "plain   active      /etc/mcrelay.yaml:3",
        ])  # fmt: skip


def test_stats_shows_full_numbers_and_the_reasons_of_the_rule_and_of_drops(path, capsys):
    counts = {"packets": 1_234_567, "octets": 1_728_393_800}
    reason = "output plant to 10.9.2.50:6001: ENOBUFS, the queue of the device was full"
    one = {
        "name": "camera", "state": "active", "reason": reason, "in": counts, "out": counts,
        "drops": {"source": 12, "own": 0, "ENOBUFS": 3}, "packets_per_second": None, "bits_per_second": None,
    }  # fmt: skip
    with serve_answers(path, stats=lambda rule=None: {"version": 1, "rules": [one]}) as at:
        _, lines, _ = run_verb(capsys, "stats", "camera", "--socket", at)
    assert lines[1].split() == [
        "camera", "1,234,567", "1,728,393,800", "-", "-", "1,234,567", "1,728,393,800", "15",
    ]  # fmt: skip
    assert lines[2:] == [f"  {reason}", "  not relayed: source 12, ENOBUFS 3"]


@pytest.mark.parametrize("verb", ["list", "stats"])
def test_list_and_stats_report_that_there_are_no_rules(verb, path, capsys):
    with serve_answers(path, **{verb: {"version": 1, "rules": []}}) as at:
        assert run_verb(capsys, verb, "--socket", at)[:2] == (0, ["no rules"])


# Errors.


@pytest.mark.parametrize("verb", ["status", "list", "stats", "reload"])
def test_a_missing_daemon_is_one_line_with_what_to_do_and_exit_code_3(verb, path, capsys):
    assert run_verb(capsys, verb, "--socket", str(path)) == (
        3,
        [],
        f"mcrelay: no daemon at {path}: no such socket; start it, or give --socket or --run-dir\n",
    )


def test_a_socket_without_a_listener_is_reported_like_a_missing_daemon(path, capsys):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    code, lines, err = run_verb(capsys, "status", "--socket", str(path))
    assert (code, lines) == (3, [])
    assert f"{path}: no process listens on it; start it" in err


def test_a_file_and_a_folder_are_reported_as_not_sockets(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path):
        assert run_verb(capsys, "status", "--socket", str(wrong)) == (
            3, [], f"mcrelay: {wrong} is not a socket: give control.sock in mcrelay's run directory\n",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"220 mail.example ESMTP\r\n", "is not mcrelay's control socket"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": 7}\n', "does not speak protocol 1"),
        (b"\xff\xfe\n", "is not mcrelay's control socket"),
        (b"", "mcrelay closed the connection"),
    ],
)
def test_another_server_is_one_line_and_exit_code_1(said, message, path, capsys):
    def serve(client):
        with client:
            client.recv(4096)
            client.sendall(said)

    with serve_clients(path, serve):
        code, lines, err = run_verb(capsys, "status", "--socket", str(path))
    assert (code, lines) == (1, [])
    assert message in err
    assert err.count("\n") == 1


def test_another_protocol_is_one_line_and_exit_code_1(path, capsys):
    refused = {
        "error": {"code": -32000, "message": "this daemon speaks protocol 2, not 1", "data": {"protocol": 2}}
    }
    with serve_answers(path, hello=refused) as at:
        code, _, err = run_verb(capsys, "status", "--socket", at)
    assert code == 1
    assert "this daemon speaks protocol 2, not 1" in err


@contextmanager
def being_nobody():
    """Drop all privileges of this process within the block."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_without_permission_it_is_one_line_and_exit_code_4(path, capsys):
    with serve_answers(path, status=document()) as at:
        assert (
            run_verb(capsys, "status", "--socket", at)[0] == 0
        )  # all is imported that nobody could not read
        path.chmod(0)
        with being_nobody():
            code, lines, err = run_verb(capsys, "status", "--socket", at)
    assert (code, lines, err) == (
        4,
        [],
        f"mcrelay: not permitted to open {at}: join its group, or use sudo\n",
    )


def test_an_unknown_rule_is_one_line_with_the_nearest_name(path, capsys):
    with serve_answers(path, status=lambda rule: UNKNOWN) as at:
        assert run_verb(capsys, "status", "x", "--socket", at) == (
            1, [], "mcrelay: no rule is named `x`; did you mean camera?\n",
        )  # fmt: skip


def test_an_unknown_rule_without_similar_names_refers_to_list(path, capsys):
    with serve_answers(path, status=lambda rule: UNLIKE) as at:
        assert run_verb(capsys, "status", "x", "--socket", at) == (
            1, [], "mcrelay: no rule is named `x`; `mcrelay list` shows all rules\n",
        )  # fmt: skip


def test_an_error_of_the_daemon_is_printed_unchanged(path, capsys):
    with serve_answers(path) as at:
        assert run_verb(capsys, "status", "--socket", at)[::2] == (1, "mcrelay: no such method\n")


# The selected daemon.


@pytest.mark.parametrize(
    ("options", "environment", "path"),
    [
        ({}, {}, "/run/mcrelay/control.sock"),
        ({}, {"RUNTIME_DIRECTORY": "/run/other:/run/x"}, "/run/other/control.sock"),
        ({}, {"MCRELAY_SOCKET": "/a.sock", "RUNTIME_DIRECTORY": "/run/other"}, "/a.sock"),
        ({"run_dir": "/run/b"}, {"MCRELAY_SOCKET": "/a.sock"}, "/run/b/control.sock"),
        ({"socket": "/c.sock"}, {"MCRELAY_SOCKET": "/a.sock"}, "/c.sock"),
    ],
)
def test_the_most_specific_option_or_variable_selects_the_socket(options, environment, path, monkeypatch):
    for name in ("MCRELAY_SOCKET", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert session.socket_path(SimpleNamespace(**{"socket": None, "run_dir": None, **options})) == path


# `status --watch`.


def watching(at, *words):
    """Start `mcrelay status --watch` in a process."""
    command = [sys.executable, "-u", "-m", "mcrelay", "status", "--watch", "0.1", *words, "--socket", at]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Counting:
    """A daemon whose rule receives 500 packets between two answers, which are a second apart."""

    def __init__(self):
        self.asked = 0

    def __call__(self):
        self.asked += 1
        counts = {"packets": 500 * self.asked, "octets": 500_000 * self.asked, "packets_per_second": None}
        return document(rule(**counts), daemon={**DOCUMENT["daemon"], "uptime": 1000.0 + self.asked})


def test_watching_shows_rates_between_answers_and_exits_with_130_on_ctrl_c(path):
    with serve_answers(path, status=Counting()) as at:
        process = watching(at, "--json")
        rates = [json.loads(process.stdout.readline())["rules"][0]["input"] for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert [one["packets_per_second"] for one in rates] == [None, 500, 500]
    assert rates[2]["bits_per_second"] == 4e6
    assert (process.returncode, err) == (130, "")


def test_watching_continues_over_a_restart_of_the_daemon(path):
    with serve_answers(path, status=document()) as at:
        process = watching(at)
        assert process.stdout.readline().startswith("mcrelay 0.1.0")
    path.unlink()
    lines = iter(process.stdout.readline, "")
    assert next(line for line in lines if "no such socket" in line).endswith("(trying again every 0.1 s)\n")
    with serve_answers(path, status=document(rule("returned"))):
        assert next(line for line in lines if line.startswith("returned"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130


def test_watching_ends_at_once_if_there_is_no_daemon_at_first(path):
    process = watching(str(path))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "no such socket" in err


def test_watching_redraws_a_terminal_within_its_height(path):
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    many = document(*(rule(f"r{number}") for number in range(100)), interfaces=[interface()])
    with serve_answers(path, status=many) as at:
        termios.tcsetwinsize(theirs, (24, 80))
        command = [sys.executable, "-m", "mcrelay", "status", "--watch", "0.1", "--socket", at]
        process = subprocess.Popen(command, stdout=theirs, env={**os.environ, "NO_COLOR": "1"})
        os.close(theirs)
        seen = bytearray()

        def drawn_twice():
            try:
                seen.extend(os.read(ours, 65536))
            except (BlockingIOError, OSError):
                time.sleep(0.01)
            return seen.count(b"\033[J") >= 2

        wait_until(drawn_twice, "the second drawing")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    os.close(ours)
    first, second, *_ = seen.decode().split("\033[J")
    assert first.startswith("\033[2J")
    assert "\033[2J" not in second
    for drawing in (first, second):
        assert drawing.count("\n") == 23
        assert "more lines do not fit this terminal)" in drawing


@pytest.mark.parametrize("seconds", ["0", "nan", "-1", "1e9", "camera"])
def test_an_invalid_interval_is_a_usage_error(seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["status", f"--watch={seconds}"])
    assert ended.value.code == 2
    assert "--watch" in capsys.readouterr().err


# Start-up time.


@pytest.mark.parametrize("verb", ["status", "list", "stats", "reload"])
def test_the_verbs_import_no_slow_library(verb, path):
    with serve_answers(path, status=document(), list={"rules": []}, stats={"rules": []}) as at:
        code = (
            "import sys; from mcrelay.cli import main\n"
            f"try: main([{verb!r}, '--socket', {at!r}])\n"
            "finally: print(*sys.modules, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {
        "yaml",
        "fastjsonschema",
        "jsonschema",
        "numpy",
        "asyncio",
        "watchdog",
        "subprocess",
        "mcrelay.model.state",
    }


def test_the_fake_daemon_has_the_greeting_of_a_real_one():
    assert GREETING.keys() == {"protocol", "version", "pid", "config", "generation", "methods"}
