"""`mcrelay reload` with a fake daemon: which process gets a signal, and what is printed of the result."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from mcrelay.cli import main
from mcrelay.cli.check import CheckResult
from mcrelay.client import connection
from mcrelay.config.problems import Problem, SourceLocation
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.reload.degraded import describe_degraded, find_degraded
from tests.support.fake_daemon import GREETING, serve_answers, serve_clients
from tests.support.status_documents import RELOAD

UNCHANGED = {**RELOAD, "outcome": "unchanged", "changes": {}}
PROBLEM = Problem(
    SourceLocation("/etc/mcrelay.yaml", 9, 11), "rules.a.input.port", "too high", "    port: 70000"
)
COUNTS_SIGNALS = """
import os, signal
signal.signal(signal.SIGHUP, lambda *_: os.write(1, b"SIGHUP\\n"))  # print() may be interrupted by itself
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def process():
    """A process that prints a line for each SIGHUP, also where this one ignores the signal (nohup)."""
    command = [sys.executable, "-I", "-c", COUNTS_SIGNALS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def signals_to(process):
    """End the process; return how many signals it got."""
    process.kill()
    return process.stdout.read().count("SIGHUP")


@dataclass
class FakeDaemon:
    """Answers `reload.wait` with results in turn, null included, and keeps the questions."""

    pid: int
    results: list
    questions: list = field(default_factory=list)

    def serve_answers(self, path):
        return serve_answers(
            path,
            hello={**GREETING, "pid": self.pid},
            reload__mark={"begun": 4},
            reload__wait=self._wait,
        )

    def _wait(self, **params):
        self.questions.append(params)
        return self.results.pop(0)


def mcrelay_reload(capsys, *words):
    code = main(["reload", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_signals_once_asks_once_and_prints_the_result(path, process, capsys):
    daemon = FakeDaemon(process.pid, [RELOAD])
    with daemon.serve_answers(path) as at:
        code, out, err = mcrelay_reload(capsys, "--socket", at)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "/etc/mcrelay.yaml: applied, generation 7",
        "  added    1 rule: extra",
        "  removed  2 rules: old, older",
        "  kept     3 rules",
    ]
    assert process.stdout.readline() == "SIGHUP\n"
    assert daemon.questions == [{"begun": 4}]
    assert signals_to(process) == 0


def test_without_a_result_it_asks_again_and_signals_no_more(path, process, capsys):
    daemon = FakeDaemon(process.pid, [None, None, UNCHANGED])
    with daemon.serve_answers(path) as at:
        assert mcrelay_reload(capsys, "--socket", at)[0] == 0
    assert process.stdout.readline() == "SIGHUP\n"
    assert daemon.questions == [{"begun": 4}] * 3
    assert signals_to(process) == 0


def test_the_signal_is_sent_before_it_waits(path, process, capsys):
    def wait(begun):
        assert process.stdout.readline() == "SIGHUP\n"
        return UNCHANGED

    methods = {"reload__mark": {"begun": 4}, "reload__wait": wait}
    with serve_answers(path, hello={**GREETING, "pid": process.pid}, **methods) as at:
        assert mcrelay_reload(capsys, "--socket", at)[0] == 0


@pytest.mark.parametrize("outcome", ["applied", "unchanged", "rejected"])
def test_a_rule_that_does_not_run_is_in_every_result_with_its_reason(outcome, path, process, capsys):
    degraded = find_degraded({"camera": RuleStatus(RuleState.UNRESOLVED, "device eth9 is absent")})
    result = {
        **RELOAD, "outcome": outcome,
        "degraded": [rule.as_json() for rule in degraded], "degraded_count": 1,
        "degraded_lines": list(describe_degraded(degraded)),
    }  # fmt: skip
    with FakeDaemon(process.pid, [result, result]).serve_answers(path) as at:
        code, out, _ = mcrelay_reload(capsys, "--socket", at)
        assert code == (78 if outcome == "rejected" else 0)
        assert out.splitlines()[-1] == "  1 rule does not run: camera: device eth9 is absent"
        _, out, _ = mcrelay_reload(capsys, "--json", "--socket", at)
    document = json.loads(out)
    expected = {"name": "camera", "state": "unresolved", "reason": "device eth9 is absent"}
    assert (document["degraded"], document["degraded_count"]) == ([expected], 1)


def test_a_changed_setting_of_the_file_has_a_line(path, process, capsys):
    changes = {**RELOAD["changes"], "settings": ["watch: true -> false", "max_age: 1s -> 2s"]}
    with FakeDaemon(process.pid, [{**RELOAD, "changes": changes}]).serve_answers(path) as at:
        _, out, _ = mcrelay_reload(capsys, "--socket", at)
    assert out.splitlines()[-3:] == [
        "  kept     3 rules",
        "  setting  watch: true -> false",
        "  setting  max_age: 1s -> 2s",
    ]


def test_an_unchanged_file_is_one_line(path, process, capsys):
    with FakeDaemon(process.pid, [UNCHANGED]).serve_answers(path) as at:
        done = mcrelay_reload(capsys, "--socket", at)
    assert done == (0, "/etc/mcrelay.yaml: unchanged, generation 7 still runs\n", "")


def test_a_rejected_file_is_printed_as_check_prints_it_and_ends_with_78(path, process, capsys):
    rejected = {
        **RELOAD, "outcome": "rejected",
        "problems": [PROBLEM.as_json()], "lines": [str(PROBLEM), *PROBLEM.excerpt()],
    }  # fmt: skip
    with FakeDaemon(process.pid, [rejected]).serve_answers(path) as at:
        code, out, _ = mcrelay_reload(capsys, "--socket", at)
    as_checked = CheckResult("/etc/mcrelay.yaml", (PROBLEM,)).as_text(colour=False)
    assert code == 78
    assert out == f"{as_checked}: rejected, generation 7 still runs\n"


def test_json_is_the_result(path, process, capsys):
    with FakeDaemon(process.pid, [RELOAD]).serve_answers(path) as at:
        code, out, _ = mcrelay_reload(capsys, "--json", "--socket", at)
    assert code == 0
    assert json.loads(out) == {
        "version": 1,
        **{key: RELOAD[key] for key in ("outcome", "at", "generation", "changes", "problems")},
        "degraded": [],
        "degraded_count": 0,
    }


def test_it_waits_no_longer_than_the_timeout(path, process, capsys):
    def wait(begun):
        time.sleep(60)

    methods = {"reload__mark": {"begun": 4}, "reload__wait": wait}
    with serve_answers(path, hello={**GREETING, "pid": process.pid}, **methods) as at:
        code, out, err = mcrelay_reload(capsys, "--timeout", "0.2", "--socket", at)
    assert (code, out) == (1, "")
    assert err == "mcrelay: no result within 0.2 s; the reload continues: see `mcrelay status`\n"


def test_a_control_process_that_hangs_is_not_waited_for_longer_than_the_timeout(path, process, capsys):
    with serve_clients(path, lambda client: client.recv(1 << 16) and time.sleep(60)):
        code, out, err = mcrelay_reload(capsys, "--timeout", "0.5", "--socket", str(path))
    assert (code, out, err) == (1, "", f"mcrelay: no answer in time at {path}\n")
    assert signals_to(process) == 0


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_a_timeout_that_is_no_time_is_refused_before_anything_is_done(path, process, capsys, timeout):
    daemon = FakeDaemon(process.pid, [RELOAD])
    with daemon.serve_answers(path) as at, pytest.raises(SystemExit) as ended:
        mcrelay_reload(capsys, "--timeout", timeout, "--socket", at)
    assert ended.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err
    assert (signals_to(process), daemon.questions) == (0, [])


def test_a_daemon_that_ended_meanwhile_is_reported(path, process, capsys):
    process.kill()
    process.wait()
    with FakeDaemon(process.pid, [RELOAD]).serve_answers(path) as at:
        code, _, err = mcrelay_reload(capsys, "--socket", at)
    assert code == 1
    assert "has ended, or is not visible here: nothing was reloaded" in err


def test_another_daemon_in_its_place_is_neither_asked_nor_signalled(path, process, capsys):
    greetings = [{**GREETING, "pid": process.pid}, {**GREETING, "pid": os.getppid()}]
    questions = []
    methods = {"reload__mark": {"begun": 4}, "reload__wait": questions.append}
    with serve_answers(path, hello=lambda protocol: greetings.pop(0), **methods) as at:
        code, _, err = mcrelay_reload(capsys, "--socket", at)
    assert code == 1
    assert "the daemon was restarted during the call" in err
    assert questions == []


def test_a_control_process_that_dies_meanwhile_is_asked_again_without_another_signal(path, process, capsys):
    questions = []

    def wait(begun):
        questions.append(begun)
        if len(questions) == 1:
            raise ConnectionError("as if it had died")
        return UNCHANGED

    methods = {"reload__mark": {"begun": 4}, "reload__wait": wait}
    with serve_answers(path, hello={**GREETING, "pid": process.pid}, **methods) as at:
        code, _, err = mcrelay_reload(capsys, "--socket", at)
    assert (code, err) == (0, "")
    assert questions == [4, 4]
    assert process.stdout.readline() == "SIGHUP\n"
    assert signals_to(process) == 0


def test_a_daemon_of_an_older_version_is_not_signalled(path, process, capsys):
    hello = {**GREETING, "pid": process.pid, "version": "0.0.1"}
    del hello["methods"]
    with serve_answers(path, hello=hello, reload__mark={"begun": 4}) as at:
        code, _, err = mcrelay_reload(capsys, "--socket", at)
    assert code == 1
    assert "runs version 0.0.1, which does not report the end of a reload: restart it" in err
    assert signals_to(process) == 0


def test_a_user_who_may_not_signal_the_daemon_reads_so_and_ends_with_4(path, process, capsys, monkeypatch):
    def forbidden(descriptor, number):
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
    with FakeDaemon(process.pid, [RELOAD]).serve_answers(path) as at:
        code, out, err = mcrelay_reload(capsys, "--socket", at)
    assert (code, out) == (4, "")
    assert err == f"mcrelay: not permitted to signal process {process.pid}: use sudo\n"


def test_the_daemon_answers_a_wait_sooner_than_the_client_gives_it_up():
    from mcrelay.control.reload_waits import MAX_WAIT_S
    from mcrelay.control.server import BEAT_S

    assert MAX_WAIT_S + BEAT_S < connection.ANSWER_TIMEOUT_S / 1.5


def test_the_help_has_the_exit_codes():
    done = subprocess.run(
        [sys.executable, "-m", "mcrelay", "reload", "--help"], capture_output=True, text=True, timeout=60,
        check=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert "78" in done.stdout
