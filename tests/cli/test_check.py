"""`mcrelay check`, and the command line around the verbs."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mcrelay import __version__
from mcrelay.cli import VERBS, main
from mcrelay.cli.check import ELSEWHERE
from mcrelay.model.suggestions import list_words

EXAMPLES = Path(__file__).parents[2] / "examples"
BAD = "version: 1\nrules:\n  a:\n    input: {interface: x, group: 239.1.1.1, port: 0123}\n    outputs: []\n"


def mcrelay(*arguments, stdin=b"", **options):
    """Run the command in a process; return exit code, standard output and standard error."""
    command = [sys.executable, "-m", "mcrelay", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid_without_a_warning(example, capsys):
    assert main(["check", str(example)]) == 0
    assert f"{example}: ok, " in capsys.readouterr().out


def test_every_use_in_the_manual_has_an_example():
    assert len(list(EXAMPLES.glob("*.yaml"))) >= 6
    assert (EXAMPLES / "drop-ins.d").is_dir()


def test_a_valid_file_is_one_line(capsys):
    assert main(["check", "-c", str(EXAMPLES / "simple.yaml")]) == 0
    assert capsys.readouterr().out == f"{EXAMPLES / 'simple.yaml'}: ok, 1 rule, 2 interfaces; {ELSEWHERE}\n"


def test_a_draft_is_checked_as_if_it_were_in_its_place(tmp_path, capsys):
    draft, place = tmp_path / "draft", EXAMPLES / "drop-ins.d" / "15-new.yaml"
    draft.write_bytes((EXAMPLES / "drop-ins.d" / "10-camera.yaml").read_bytes())
    assert main(["check", "--as", str(place), str(draft)]) == 78
    out = capsys.readouterr().out
    assert f"{place}:" in out
    assert f"is given twice, first at {EXAMPLES / 'drop-ins.d' / '10-camera.yaml'}:" in out
    assert main(["check", "--as", str(place.with_name("10-camera.yaml")), str(draft)]) == 0
    assert mcrelay("check", "--as", place, stdin=b"rules: {}\n")[:1] == (0,)
    assert main(["plan", "--as", str(place), str(draft)]) == 78


def test_every_problem_shows_with_its_line_a_caret_and_a_count(bad):
    code, out, err = mcrelay("check", bad.name, cwd=bad.parent)
    assert (code, err) == (78, "")
    assert out.splitlines() == [
        "bad.yaml:4:24: rules.a.input.interface: no interface is named `x`; "
        "add it to `interfaces`: `x: {device: eth0}`, with its device",
        "    input: {interface: x, group: 239.1.1.1, port: 0123}",
        "                       ^",
        "bad.yaml:4:51: rules.a.input.port: 0123 is not the same number to every YAML reader; "
        "write a plain decimal number, or quote it if it is text",
        "    input: {interface: x, group: 239.1.1.1, port: 0123}",
        "                                                  ^",
        "bad.yaml:5:14: rules.a.outputs: expected a list of at least one output, not an empty list",
        "    outputs: []",
        "             ^",
        "bad.yaml: 3 problems",
    ]


def test_a_warning_is_shown_and_the_file_is_valid(tmp_path, capsys):
    path = tmp_path / "warn.yaml"
    discovery = (EXAMPLES / "discovery.yaml").read_text()
    path.write_text(discovery.replace("ttl: 1}]\n  mdns", "ttl: 64}]\n  mdns"))
    assert main(["check", str(path)]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.endswith(
        "rules.mdns-office-to-lab.outputs[0].ttl: warning: 224.0.0.251 is link-local, "
        "and receivers may refuse a TTL of 64; set `ttl: 1`"
    )
    assert last == f"{path}: ok, 4 rules, 2 interfaces, 1 warning; {ELSEWHERE}"


def test_standard_input_is_checked_like_a_file():
    assert mcrelay("check", "-", stdin=b"version: 1\n")[:2] == (
        0,
        f"-: ok, 0 rules, 0 interfaces; {ELSEWHERE}\n",
    )
    code, out, _ = mcrelay("check", "-", stdin=b"version: 2\n")
    assert code == 78
    assert out.startswith("<stdin>:1:10: version: expected 1")


def test_json_has_the_shape_that_the_help_describes(bad, capsys):
    assert main(["check", "--json", str(bad)]) == 78
    result = json.loads(capsys.readouterr().out)
    assert {key: result[key] for key in ("version", "file", "valid", "rules", "interfaces", "warnings")} == {
        "version": 1, "file": str(bad), "valid": False, "rules": None, "interfaces": None, "warnings": [],
    }  # fmt: skip
    assert len(result["problems"]) == 3
    assert result["problems"][2] == {
        "file": str(bad), "line": 5, "column": 14, "path": "rules.a.outputs",
        "message": "expected a list of at least one output, not an empty list",
    }  # fmt: skip
    assert main(["check", "--json", str(EXAMPLES / "fan-out.yaml")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["valid"], document["rules"], document["interfaces"], document["problems"]) == (
        True,
        1,
        3,
        [],
    )


HOSTILE = {
    "empty": b"",
    "tabs": b"version: 1\nrules:\n\ta: 1\n",
    "a list at the top": b"- version: 1\n",
    "duplicate keys": b"version: 1\nversion: 1\n",
    "base 60": b"version: 1\nworkers: 22:22\n",
    "octal": b"version: 1\nworkers: 0123\n",
    "brackets": b"[" * 300_000,
    "braces": b"{" * 300_000,
    "an alias bomb": b"a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "binary": bytes(range(256)) * 64,
    "UTF-16": "version: 1\n".encode("utf-16"),
    "an executable": Path(sys.executable).read_bytes()[: 1 << 20],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bad_input_is_refused_with_exit_code_78_and_no_traceback(name):
    code, out, err = mcrelay("check", "-", stdin=HOSTILE[name])
    assert (code, err) == (78, "")
    assert out.startswith("<stdin>:")
    assert "Traceback" not in out
    assert len(out) < 5000


def test_a_missing_file_and_a_folder_are_refused_with_exit_code_78(tmp_path, capsys):
    missing = tmp_path / "x"
    assert main(["check", str(missing)]) == 78
    assert main(["check", str(tmp_path)]) == 78
    assert capsys.readouterr().out.splitlines() == [
        f"{missing}: no such file or directory; write it, or name another file",
        f"{missing}: 1 problem",
        f"{tmp_path}: this is a directory, not a file",
        f"{tmp_path}: 1 problem",
    ]


def on_a_terminal(*arguments, **environment):
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mcrelay", *arguments]
    settings = {**os.environ, "TERM": "xterm", **environment}
    with subprocess.Popen(command, stdout=theirs, env=settings) as running:
        os.close(theirs)
        out = b""
        try:
            while octets := os.read(ours, 4096):
                out += octets
        except OSError:  # EIO: the other side has closed
            pass
        os.close(ours)
    return running.returncode, out.decode()


def test_colour_is_for_terminals_and_never_with_no_color(bad):
    code, out = on_a_terminal("check", str(bad), NO_COLOR="")
    assert code == 78
    assert "\033[31mno interface is named `x`" in out
    assert "\033[31m^\033[0m" in out
    assert "\033[" not in on_a_terminal("check", str(bad), NO_COLOR="1")[1]
    assert "\033[" not in on_a_terminal("check", str(bad), TERM="dumb")[1]


def test_a_closed_pipe_causes_no_traceback(tmp_path):
    big = tmp_path / "big.yaml"
    big.write_text("version: 1\nrules:\n" + "".join(f"  r{n}: 1\n" for n in range(3000)))
    command = f"{sys.executable} -m mcrelay check '{big}' | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["141"]


def test_a_full_disk_is_reported_in_one_line(bad):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mcrelay", "check", str(bad)]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        "mcrelay: cannot write the output: no space left on device\n",
    )


def test_a_character_outside_of_the_encoding_is_escaped():
    text = "version: \N{SNOWMAN}\n".encode()
    code, out, err = mcrelay("check", "-", stdin=text, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (code, err) == (78, "")
    assert 'not "\\u2603"' in out


def test_the_help_lists_every_verb_and_imports_none(capsys):
    code = "import sys; from mcrelay.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    *help_lines, modules = done.stdout.splitlines()
    for verb in VERBS:
        assert any(line.split()[:1] == [verb.name] and verb.help in line for line in help_lines)
    loaded = set(modules.split())
    assert not loaded & {
        "yaml",
        "fastjsonschema",
        "jsonschema",
        "numpy",
        *(verb.module for verb in VERBS),
    }


def test_the_help_of_a_verb_lists_its_exit_codes():
    code, out, err = mcrelay("check", "--help")
    assert (code, err) == (0, "")
    assert "Exit codes: 0 valid, 2 usage, 78 invalid." in out


def test_the_version_is_that_of_the_package():
    assert mcrelay("--version") == (0, f"mcrelay {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chek"], "mcrelay: no verb is named `chek`; did you mean `check`?\n"),
        (
            ["xyz"],
            f"mcrelay: no verb is named `xyz`; the verbs are: {list_words(verb.name for verb in VERBS)}\n",
        ),
    ],
)
def test_an_unknown_verb_is_a_usage_error_that_helps(words, message, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("words", [[], ["check", "--nonsense"], ["check", "a", "-c", "b"]])
def test_wrong_usage_is_exit_code_2(words):
    code, out, err = mcrelay(*words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: mcrelay")


def test_an_unknown_option_shows_the_usage_of_its_verb(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["check", "--nonsense", "more"])
    err = capsys.readouterr().err
    assert err.startswith("usage: mcrelay check [-h]")
    assert err.endswith("mcrelay check: error: unrecognized arguments: --nonsense\n")


def test_ctrl_c_ends_a_verb_without_a_traceback(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mcrelay.cli.check.run", interrupted)
    assert main(["check"]) == 130
    assert capsys.readouterr() == ("", "")
