"""`mcrelay try` and `mcrelay confirm` with a fake daemon: their requests and output."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mcrelay.cli import main
from mcrelay.reload.requests import Confirm, Try, parse_request
from mcrelay.storage import request_file
from tests.support.fake_daemon import GREETING, serve_answers
from tests.support.json_schemas import validate
from tests.support.status_documents import RELOAD

UNTIL = 1_795_381_964.0
TRIAL = {"generation": 7, "hash": "ab" * 32, "until": UNTIL, "confirmed": "cd" * 32}


RECORDS_SIGNALS = """
import os, signal
for one in (signal.SIGHUP, signal.SIGUSR2):  # os.write, as print() may be interrupted by itself
    signal.signal(one, lambda number, _: os.write(1, f"{signal.Signals(number).name}\\n".encode()))
print("ready", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def fake_daemon(folder, result, trial=TRIAL, begun=4):
    """A fake daemon with this result; yields the arguments that select it, and its (request, signals)."""
    requests = []

    def wait(**params):
        assert params == {"begun": begun, "cause": result["cause"]}
        file = folder / request_file.NAME
        requests.append((parse_request(file.read_bytes()), signals.readline().strip()))
        file.unlink()
        return {**RELOAD, **result}

    command = [sys.executable, "-I", "-c", RECORDS_SIGNALS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        signals = process.stdout
        assert signals.readline() == "ready\n"
        try:
            hello = {**GREETING, "pid": process.pid, "run_dir": str(folder), "uid": os.geteuid()}
            status = {"trial": trial, "generation": {"number": 7}}
            methods = {"reload__mark": {"begun": begun}, "reload__wait": wait, "status": status}
            rules = {"version": 1, "rules": []}
            with serve_answers(folder / "control.sock", hello=hello, list=rules, **methods) as at:
                yield ("--socket", at), requests
        finally:
            process.kill()


def run_verb(capsys, *words):
    code = main([*words])
    return code, *capsys.readouterr()


def test_try_requests_a_trial_and_prints_its_end(tmp_path, capsys):
    with fake_daemon(tmp_path, {"cause": "try"}) as (at, requests):
        code, out, err = run_verb(capsys, "try", "--timeout", "300", *at)
    assert (code, err) == (0, "")
    assert requests == [(Try(300), "SIGUSR2")]
    assert out.splitlines()[0] == "/etc/mcrelay.yaml: applied, generation 7"
    at_end = time.strftime("%H:%M:%S", time.localtime(UNTIL))
    assert (
        out.splitlines()[-1]
        == f"on trial until {at_end}, with all further changes: `mcrelay confirm` keeps them"
    )


def test_rejected_files_are_reported_and_not_on_trial(tmp_path, capsys):
    rejected = {"cause": "try", "outcome": "rejected"}
    with fake_daemon(tmp_path, rejected, trial=None) as (at, _):
        code, out, _ = run_verb(capsys, "try", *at)
    assert code == 78
    assert out.endswith("rejected, generation 7 still runs\n")


def test_a_refused_trial_is_reported_with_the_reason(tmp_path, capsys):
    problem = {"file": "mcrelay try", "line": 0, "column": 0, "path": "", "message": "there is no history"}
    refused = {"cause": "try", "outcome": "refused", "problems": [problem]}
    with fake_daemon(tmp_path, refused, trial=None) as (at, _):
        assert run_verb(capsys, "try", *at) == (1, "", "mcrelay: not on trial: there is no history\n")
        code, out, _ = run_verb(capsys, "try", "--json", *at)
    assert code == 1
    assert (json.loads(out)["outcome"], json.loads(out)["trial"]) == ("refused", None)


def test_a_trial_as_json_has_its_end(tmp_path, capsys):
    with fake_daemon(tmp_path, {"cause": "try"}) as (at, _):
        document = json.loads(run_verb(capsys, "try", "--json", *at)[1])
    assert document["trial"] == TRIAL
    validate(document, "try")


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", "nan", "inf", "soon"])
def test_a_trial_has_a_minimum_and_a_maximum_duration(seconds, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["try", f"--timeout={seconds}"])
    assert "error: argument --timeout: " in capsys.readouterr().err


def test_confirm_names_the_generation_that_is_on_trial(tmp_path, capsys):
    with fake_daemon(tmp_path, {"cause": "confirm", "outcome": "confirmed"}) as (at, requests):
        assert run_verb(capsys, "confirm", *at) == (0, "generation 7 is confirmed\n", "")
        document = json.loads(run_verb(capsys, "confirm", "--json", *at)[1])
    assert requests == [(Confirm(7), "SIGUSR2")] * 2
    validate(document, "confirm")


def test_a_refused_confirmation_is_reported_with_the_reason(tmp_path, capsys):
    problem = {
        "file": "mcrelay confirm",
        "line": 0,
        "column": 0,
        "path": "",
        "message": "nothing is on trial",
    }
    refused = {"cause": "confirm", "outcome": "refused", "problems": [problem]}
    with fake_daemon(tmp_path, refused, trial=None) as (at, requests):
        assert run_verb(capsys, "confirm", *at) == (1, "", "mcrelay: not confirmed: nothing is on trial\n")
    assert requests == [(Confirm(7), "SIGUSR2")]


def test_a_second_request_at_the_same_time_is_refused(tmp_path, capsys):
    request_file.write(tmp_path, Try(1), os.geteuid())
    with fake_daemon(tmp_path, {"cause": "try"}) as (at, requests):
        code, _, err = run_verb(capsys, "try", *at)
    assert code == 1
    assert err == f"mcrelay: {tmp_path}/request waits for the supervisor; try again in a moment\n"
    assert requests == []


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (PermissionError(13, "Permission denied"), 4, "not permitted to write into {}: use sudo"),
        (OSError(30, "Read-only file system"), 1, "cannot write into {}: read-only file system"),
    ],
)
def test_writing_into_the_run_directory_needs_permission(
    tmp_path, capsys, monkeypatch, error, code, complaint
):
    def refused(*_):
        raise error

    with fake_daemon(tmp_path, {"cause": "try"}) as (at, _):
        monkeypatch.setattr(request_file, "write", refused)
        assert run_verb(capsys, "try", *at) == (code, "", f"mcrelay: {complaint.format(tmp_path)}\n")


def test_without_permission_to_signal_no_request_file_is_left(tmp_path, capsys, monkeypatch):
    def forbidden(descriptor, number):
        raise PermissionError

    with fake_daemon(tmp_path, {"cause": "try"}) as (at, requests):
        monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
        code, _, err = run_verb(capsys, "try", *at)
    assert code == 4
    assert err.endswith("use sudo\n")
    assert not (tmp_path / request_file.NAME).exists()
    assert requests == []
