"""`mcrelay reload` before a daemon that a test plays: whom it signals, and what it makes of the verdict."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mcrelay.cli import main
from mcrelay.cli.check import CheckResult
from mcrelay.client.connection import PATIENCE
from mcrelay.config.problems import Problem, SourceLocation
from tests.support.fake_daemon import GREETING, answering, listening
from tests.support.status_documents import RELOAD

LIST = {"version": 1, "rules": []}
PROBLEM = Problem(
    SourceLocation("/etc/mcrelay.yaml", 9, 11), "rules.a.input.port", "too high", "    port: 70000"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def target():
    """A process to signal, that tells whether it was: it ends on SIGHUP."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def reloading(path, target, verdicts, **methods):
    """A daemon that answers with these verdicts, one after the other, and then with the last again."""
    left = list(verdicts)
    return answering(
        path,
        hello={**GREETING, "pid": target.pid},
        reload__mark={"begun": 4},
        reload__verdict=lambda: left.pop(0) if len(left) > 1 else left[0],
        list=LIST,
        **methods,
    )


def told(capsys, *words):
    code = main(["reload", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_signals_the_daemon_and_waits_for_a_reload_that_began_after_it_asked(path, target, capsys):
    verdicts = [
        {**RELOAD, "outcome": "rejected", "finished": 4},
        {**RELOAD, "finished": 4},
        {**RELOAD, "finished": 5},
    ]
    with reloading(path, target, verdicts) as at:
        code, out, err = told(capsys, "--socket", at)
    assert target.wait(20) == -signal.SIGHUP
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "/etc/mcrelay.yaml: applied, generation 7",
        "  added    1 rule: extra",
        "  removed  2 rules: old, older",
        "  kept     3 rules",
    ]


def test_a_new_rule_that_does_not_run_is_told_too(path, target, capsys):
    rules = [
        {"name": "extra", "state": "unresolved", "reason": "device eth9 is absent"},
        {"name": "elsewhere", "state": "failed", "reason": "not of this reload"},
    ]
    with reloading(path, target, [{**RELOAD, "finished": 5}]) as at:
        LIST["rules"] = rules
        _, out, _ = told(capsys, "--socket", at)
        LIST["rules"] = []
    assert out.splitlines()[-1] == "  extra is unresolved: device eth9 is absent"
    assert "elsewhere" not in out


def test_an_unchanged_file_is_one_line(path, target, capsys):
    with reloading(path, target, [{**RELOAD, "outcome": "unchanged", "changes": {}, "finished": 5}]) as at:
        assert told(capsys, "--socket", at) == (0, "/etc/mcrelay.yaml: unchanged, generation 7 runs on\n", "")


def test_a_rejected_file_is_told_exactly_as_check_tells_it_and_ends_with_78(path, target, capsys):
    rejected = {
        **RELOAD, "outcome": "rejected", "finished": 5,
        "problems": [PROBLEM.as_json()], "lines": [str(PROBLEM), *PROBLEM.excerpt()],
    }  # fmt: skip
    with reloading(path, target, [rejected]) as at:
        code, out, _ = told(capsys, "--socket", at)
    as_checked = CheckResult("/etc/mcrelay.yaml", (PROBLEM,)).as_text(colour=False)
    assert code == 78
    assert out == f"{as_checked}: rejected, generation 7 runs on\n"


def test_json_is_the_verdict(path, target, capsys):
    with reloading(path, target, [{**RELOAD, "finished": 5}]) as at:
        code, out, _ = told(capsys, "--json", "--socket", at)
    assert code == 0
    assert json.loads(out) == {
        "version": 1,
        **{key: RELOAD[key] for key in ("outcome", "at", "generation", "changes", "problems")},
    }


def test_a_verdict_that_does_not_come_is_not_waited_for_longer_than_told(path, target, capsys):
    with reloading(path, target, [{**RELOAD, "finished": 4}]) as at:
        code, out, err = told(capsys, "--timeout", "0.2", "--socket", at)
    assert (code, out) == (1, "")
    assert err == "mcrelay: no verdict within 0.2 s; the reload goes on: see `mcrelay status`\n"


def test_a_control_process_that_hangs_is_not_waited_for_longer_than_told(path, target, capsys):
    began = time.monotonic()
    with listening(path, lambda client: client.recv(1 << 16) and time.sleep(PATIENCE)):
        code, out, err = told(capsys, "--timeout", "0.5", "--socket", str(path))
    assert time.monotonic() - began < PATIENCE
    assert (code, out, err) == (1, "", f"mcrelay: no answer in time at {path}\n")


@pytest.mark.parametrize("patience", ["0", "-1", "nan", "inf", "soon"])
def test_a_patience_that_is_no_time_is_refused_before_anything_is_done(path, target, capsys, patience):
    with reloading(path, target, [RELOAD]) as at, pytest.raises(SystemExit) as ended:
        told(capsys, "--timeout", patience, "--socket", at)
    assert ended.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err
    assert target.poll() is None  # SIGHUP would have ended it


def test_a_daemon_that_ended_meanwhile_is_told(path, target, capsys):
    target.kill()
    target.wait()
    with reloading(path, target, [RELOAD]) as at:
        code, _, err = told(capsys, "--socket", at)
    assert code == 1
    assert "has ended, or is hidden from here: nothing was reloaded" in err


def test_another_daemon_in_its_place_is_no_verdict(path, target, capsys):
    greetings = [{**GREETING, "pid": target.pid}, GREETING]
    methods = {"reload__mark": {"begun": 4}, "reload__verdict": {**RELOAD, "finished": 5}}
    with answering(path, hello=lambda protocol: greetings.pop(0), **methods) as at:
        code, _, err = told(capsys, "--socket", at)
    assert code == 1
    assert "mcrelay was restarted meanwhile" in err


def test_a_control_process_that_dies_meanwhile_is_asked_again(path, target, capsys):
    tries = []

    def verdict():
        tries.append(None)
        if len(tries) == 1:
            raise ConnectionError("as if it had died")
        return {**RELOAD, "outcome": "unchanged", "changes": {}, "finished": 5}

    methods = {"reload__mark": {"begun": 4}, "reload__verdict": verdict}
    with answering(path, hello={**GREETING, "pid": target.pid}, **methods) as at:
        code, _, err = told(capsys, "--socket", at)
    assert (code, err) == (0, "")
    assert len(tries) == 2


def test_who_may_not_signal_the_daemon_is_told_so_and_ends_with_4(path, target, capsys, monkeypatch):
    def forbidden(descriptor, number):
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
    with reloading(path, target, [RELOAD]) as at:
        code, out, err = told(capsys, "--socket", at)
    assert (code, out) == (4, "")
    assert err == f"mcrelay: you may not signal process {target.pid}: use sudo\n"


def test_the_help_tells_the_exit_codes():
    done = subprocess.run(
        [sys.executable, "-m", "mcrelay", "reload", "--help"], capture_output=True, text=True, timeout=60,
        check=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert "78" in done.stdout
