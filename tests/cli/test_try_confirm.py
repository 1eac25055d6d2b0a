"""`mcrelay try` and `mcrelay confirm` before a daemon that a test plays: what they ask for, and tell."""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest

from mcrelay.cli import main
from mcrelay.reload.requests import Confirm, Try, parse_request
from mcrelay.storage import request_file
from tests.support.fake_daemon import GREETING, answering
from tests.support.status_documents import RELOAD

UNTIL = 1_795_381_964.0
TRIAL = {"generation": 7, "hash": "abc", "until": UNTIL, "confirmed": "def"}


@contextmanager
def playing(folder, *verdicts, trial=TRIAL, begun=4):
    """A daemon with these verdicts in turn, the last again and again; yields how to call it, and wishes."""
    left = [{"cause": "hangup", "changes": {}, **RELOAD, **verdict} for verdict in verdicts]
    wishes = []

    def verdict():
        if (file := folder / request_file.NAME).exists():
            wishes.append(parse_request(file.read_bytes()))
            file.unlink()
        return left.pop(0) if len(left) > 1 else left[0]

    with subprocess.Popen(["sh", "-c", "trap : HUP; while :; do sleep 0.05; done"]) as process:
        try:
            hello = {**GREETING, "pid": process.pid, "run_dir": str(folder), "uid": os.geteuid()}
            status = {"trial": trial, "generation": {"number": 7}}
            methods = {"reload__mark": {"begun": begun}, "reload__verdict": verdict, "status": status}
            rules = {"version": 1, "rules": []}
            with answering(folder / "control.sock", hello=hello, list=rules, **methods) as at:
                yield ("--socket", at), wishes
        finally:
            process.kill()


def told(capsys, *words):
    code = main([*words])
    return code, *capsys.readouterr()


def test_a_trial_is_asked_for_and_told_with_its_end(tmp_path, capsys):
    with playing(tmp_path, {"cause": "try", "finished": 5}) as (at, wishes):
        code, out, err = told(capsys, "try", "--timeout", "300", *at)
    assert (code, err) == (0, "")
    assert wishes == [Try(300)]
    assert out.splitlines()[0] == "/etc/mcrelay.yaml: applied, generation 7"
    at_end = time.strftime("%H:%M:%S", time.localtime(UNTIL))
    assert (
        out.splitlines()[-1]
        == f"on trial until {at_end}, with all changes to come: `mcrelay confirm` keeps them"
    )


def test_the_verdict_is_that_on_the_trial_whatever_else_is_reloaded_meanwhile(tmp_path, capsys):
    others = {"cause": "watch", "finished": 5, "outcome": "rejected"}
    own = {**RELOAD, "cause": "try", "finished": 6, "outcome": "unchanged"}
    later = {"cause": "hangup", "finished": 7, "outcome": "rejected", "earlier": [own, {**RELOAD, **others}]}
    with playing(tmp_path, others, later) as (at, _):
        code, out, _ = told(capsys, "try", *at)
    assert code == 0
    assert out.startswith("/etc/mcrelay.yaml: unchanged, generation 7 runs on\n")


def test_rejected_files_are_told_and_are_not_on_trial(tmp_path, capsys):
    rejected = {"cause": "try", "finished": 5, "outcome": "rejected"}
    with playing(tmp_path, rejected, trial=None) as (at, _):
        code, out, _ = told(capsys, "try", *at)
    assert code == 78
    assert out.endswith("rejected, generation 7 runs on\n")


def test_a_trial_that_cannot_be_had_says_why(tmp_path, capsys):
    problem = {"file": "mcrelay try", "line": 0, "column": 0, "path": "", "message": "there is no history"}
    refused = {"cause": "try", "finished": 5, "outcome": "refused", "problems": [problem]}
    with playing(tmp_path, refused, trial=None) as (at, _):
        assert told(capsys, "try", *at) == (1, "", "mcrelay: not on trial: there is no history\n")
        code, out, _ = told(capsys, "try", "--json", *at)
    assert code == 1
    assert (json.loads(out)["outcome"], json.loads(out)["trial"]) == ("refused", None)


def test_a_trial_as_json_tells_when_it_ends(tmp_path, capsys):
    with playing(tmp_path, {"cause": "try", "finished": 5}) as (at, _):
        document = json.loads(told(capsys, "try", "--json", *at)[1])
    assert document["trial"] == TRIAL
    assert {*document} == {"version", "outcome", "at", "generation", "changes", "problems", "trial"}


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", "nan", "inf", "soon"])
def test_a_trial_lasts_a_moment_and_not_for_ever(seconds, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["try", f"--timeout={seconds}"])
    assert "error: argument --timeout: " in capsys.readouterr().err


def test_what_is_confirmed_is_the_generation_that_is_on_trial(tmp_path, capsys):
    with playing(tmp_path, {"cause": "confirm", "finished": 5, "outcome": "confirmed"}) as (at, wishes):
        assert told(capsys, "confirm", *at) == (0, "generation 7 is confirmed\n", "")
        document = json.loads(told(capsys, "confirm", "--json", *at)[1])
    assert wishes == [Confirm(7), Confirm(7)]
    assert {*document} == {"version", "outcome", "at", "generation", "problems"}


def test_what_cannot_be_confirmed_says_why(tmp_path, capsys):
    problem = {
        "file": "mcrelay confirm",
        "line": 0,
        "column": 0,
        "path": "",
        "message": "nothing is on trial",
    }
    refused = {"cause": "confirm", "finished": 5, "outcome": "refused", "problems": [problem]}
    with playing(tmp_path, refused, trial=None) as (at, wishes):
        assert told(capsys, "confirm", *at) == (1, "", "mcrelay: not confirmed: nothing is on trial\n")
    assert wishes == [Confirm(7)]


def test_two_wishes_at_once_are_one_too_many(tmp_path, capsys):
    request_file.write(tmp_path, Try(1), os.geteuid())
    with playing(tmp_path, {"cause": "try", "finished": 5}) as (at, wishes):
        code, _, err = told(capsys, "try", *at)
    assert code == 1
    assert err == f"mcrelay: {tmp_path}/request waits for the supervisor; try again in a moment\n"
    assert wishes == []


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (PermissionError(13, "Permission denied"), 4, "you may not write into {}: use sudo"),
        (OSError(30, "Read-only file system"), 1, "cannot write into {}: read-only file system"),
    ],
)
def test_who_may_not_write_into_the_run_directory_may_not_ask(
    tmp_path, capsys, monkeypatch, error, code, complaint
):
    def refused(*_):
        raise error

    with playing(tmp_path, {"cause": "try", "finished": 5}) as (at, _):
        monkeypatch.setattr(request_file, "write", refused)
        assert told(capsys, "try", *at) == (code, "", f"mcrelay: {complaint.format(tmp_path)}\n")


def test_who_may_not_signal_the_daemon_leaves_no_wish(tmp_path, capsys, monkeypatch):
    def forbidden(descriptor, number):
        raise PermissionError

    with playing(tmp_path, {"cause": "try", "finished": 5}) as (at, wishes):
        monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
        code, _, err = told(capsys, "try", *at)
    assert code == 4
    assert err.endswith("use sudo\n")
    assert not (tmp_path / request_file.NAME).exists()
    assert wishes == []


def test_a_reload_whose_signal_was_taken_for_a_wish_asks_again(tmp_path, capsys):
    """Signals that wait are one: what was confirmed meanwhile says nothing of the files."""
    confirmed = {"cause": "confirm", "finished": 5, "outcome": "confirmed"}
    own = {"cause": "hangup", "finished": 6}
    with playing(tmp_path, confirmed, confirmed, own) as (at, _):
        code, out, _ = told(capsys, "reload", *at)
    assert code == 0
    assert out.startswith("/etc/mcrelay.yaml: applied, generation 7\n")


def test_a_rollback_is_no_verdict_on_the_files(tmp_path, capsys):
    with playing(tmp_path, {"cause": "deadline", "finished": 5, "outcome": "rolled_back"}) as (at, _):
        code, _, err = told(capsys, "reload", "--timeout", "0.3", *at)
    assert code == 1
    assert "no verdict within 0.3 s" in err
