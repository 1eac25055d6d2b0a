"""No verb shows a traceback, whatever its standard streams are."""

import json
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcrelay.cli import VERBS
from tests.support.fake_daemon import serve_answers
from tests.support.status_documents import document

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "simple.yaml")
COMMANDS = [
    [],
    ["--help"],
    ["--version"],
    ["nonsense"],
    ["check", EXAMPLE],
    ["check", "--json", EXAMPLE],
    ["check", "-"],
    ["plan", EXAMPLE],
    ["plan", "--json", EXAMPLE],
    ["history", "--state-dir", "/nonexistent"],
    ["send", "239.1.1.1:5001", "--count", "0"],
    ["receive", "nonsense"],
    ["demo", "--nonsense"],
    ["run", "-c", "/nonexistent"],
    *([verb, "--socket", "SOCKET"] for verb in ("status", "list", "stats", "reload", "try", "confirm")),
    *([verb, "--json", "--socket", "SOCKET"] for verb in ("status", "list", "stats")),
    ["trace", "camera", "--socket", "SOCKET"],
    ["trace", "camera", "--pcapng", "-", "--socket", "SOCKET"],
]
HELP = [[verb.name, "--help"] for verb in VERBS]
# The state of standard input, output and error as shell redirections.
STATES = {
    "output closed": ">&-",
    "error closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "output full": ">/dev/full",
    "error full": "2>/dev/full",
    "both full": ">/dev/full 2>/dev/full",
    "output read-only": "1</dev/null",
    "input write-only": "0>/dev/null",
    "input a directory": "</",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A fake daemon that answers `status`, `list` and `stats`, and no other method."""
    shown = document()
    methods = {"status": shown, "list": {"version": 1, "rules": shown["rules"]}}
    with serve_answers(tmp_path_factory.mktemp("daemon") / "control.sock", **methods) as path:
        yield path


def mcrelay(words, daemon):
    arguments = " ".join(word.replace("SOCKET", daemon) for word in words)
    return f"{sys.executable} -m mcrelay {arguments}"


def run_shell(command, environment=None):
    """Run a command of the shell; return its exit code and all of its output."""
    # Some hundred processes start: coverage in them would take longer than they do.
    usual = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    done = subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        env={**usual, **(environment or {})},
    )
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))  # pcapng is no text
    return done.returncode, out, err


def assert_is_clean(text):
    assert "Traceback" not in text
    assert "Exception ignored" not in text


@pytest.mark.parametrize("state", STATES)
def test_no_verb_shows_a_traceback_with_a_stream_in_a_bad_state(state, daemon):
    assert_all_are_clean(COMMANDS, STATES[state], daemon)


def test_the_help_of_every_verb_fails_with_one_line_if_the_disk_is_full(daemon):
    assert_all_are_clean(HELP, ">/dev/full", daemon, codes=(1,))


def assert_all_are_clean(commands, redirection, daemon, codes=(0, 1, 2, 3, 4, 78)):
    with ThreadPoolExecutor(4) as pool:  # most of the time is the start of Python
        lines = [f"{mcrelay(words, daemon)} {redirection}" for words in commands]
        for line, (code, out, err) in zip(lines, pool.map(run_shell, lines), strict=True):
            assert_is_clean(out + err)
            assert code in codes, (line, code, out, err)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["status", "--socket", "SOCKET"], ["check", EXAMPLE]])
def test_output_to_a_full_disk_fails_with_one_line(words, unbuffered, daemon):
    code, _, err = run_shell(f"{mcrelay(words, daemon)} >/dev/full", {"PYTHONUNBUFFERED": unbuffered})
    assert (code, err) == (1, "mcrelay: cannot write the output: no space left on device\n")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_pipe_that_breaks_ends_a_verb_silently(words, daemon):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        mcrelay(words, daemon).split(),
        stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writer)
    assert_is_clean(done.stderr)
    if not done.stderr:
        assert done.returncode == 141


def test_standard_error_that_cannot_be_written_leaves_the_exit_code(daemon):
    assert run_shell(f"{mcrelay(['nonsense'], daemon)} 2>/dev/full")[0] == 2
    assert run_shell(f"{mcrelay(['nonsense'], daemon)} 2>&-")[0] == 2


@contextmanager
def lost_terminal():
    """A terminal that is gone: writing fails with EIO."""
    master, slave = pty.openpty()
    os.close(master)
    yield slave
    os.close(slave)


def test_a_terminal_that_is_gone_is_one_line_and_a_failure(daemon):
    with lost_terminal() as terminal:
        done = subprocess.run(
            mcrelay(["status", "--socket", "SOCKET"], daemon).split(),
            stdout=terminal, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "mcrelay: cannot write the output: input/output error\n")


def test_a_pipe_that_does_not_block_gets_all_of_a_large_output(tmp_path):
    rules = "\n".join(
        f"  r{n}: {{input: {{interface: a, group: 239.1.{n // 250}.{n % 250}, port: 70000}}, outputs: []}}"
        for n in range(2000)
    )
    file = tmp_path / "mcrelay.yaml"
    file.write_text(f"version: 1\ninterfaces: {{a: {{device: eth0}}}}\nrules:\n{rules}\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen([sys.executable, "-m", "mcrelay", "check", "--json", file], stdout=writer) as check:
        os.close(writer)
        with open(reader) as out:
            document = json.load(out)
    assert check.returncode == 78
    assert len(document["problems"]) >= 2000


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii:strict"}])
def test_an_encoding_without_a_character_shows_its_number(environment, tmp_path, daemon):
    file = tmp_path / "mcrelay.yaml"
    file.write_text("version: 1\ninterfaces: {ä: {}}\nrules: {}\n")
    environment = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **environment}
    code, out, err = run_shell(mcrelay(["check", str(file)], daemon), environment)
    assert code == 78
    assert_is_clean(out + err)
