"""`mcrelay add`, `remove`, `enable` and `disable`: the files after them, with and without a daemon."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from mcrelay.cli import main
from tests.support.fake_daemon import GREETING, serve_answers
from tests.support.status_documents import RELOAD

MAIN = """\
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1}
rules:
  home: {input: {interface: studio, group: 239.9.9.9, port: 9}, outputs: [{interface: plant}]}
"""
TAKEN = ("--input", "studio:239.1.1.1:5001")
CAMERA = (*TAKEN, "--output", "plant:239.2.2.2:6001")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A main file, and no daemon."""
    monkeypatch.setenv("MCRELAY_SOCKET", str(tmp_path / "nobody.sock"))
    path = tmp_path / "mcrelay.yaml"
    path.write_text(MAIN)
    return path


@pytest.fixture
def folder(file):
    """The drop-in folder, which may not exist."""
    return file.with_name("mcrelay.d")


@pytest.fixture
def run_verb(file, capsys):
    """A function that runs a verb; it returns exit code, standard output and standard error."""

    def verb(name, *words):
        code = main([name, "-c", str(file), *words])
        return code, *capsys.readouterr()

    return verb


def contents(folder):
    """The text of each drop-in."""
    return {one.name: one.read_text() for one in folder.iterdir()} if folder.exists() else {}


def test_add_writes_a_readable_file_for_the_rule(run_verb, file, folder):
    code, out, err = run_verb(
        "add", "camera", *CAMERA, "--output=plant:10.9.2.50", "--ttl=16", "--description=A: b"
    )
    assert (code, out) == (0, f"camera: added, {folder}/camera.yaml\n")
    assert err.startswith("mcrelay: not reloaded: no daemon at ")
    assert contents(folder)["camera.yaml"].partition("\n\n")[2] == (
        "rules:\n"
        "  camera:\n"
        '    description: "A: b"\n'
        "    input: {interface: studio, group: 239.1.1.1, port: 5001}\n"
        "    outputs:\n"
        "      - {interface: plant, group: 239.2.2.2, port: 6001, ttl: 16}\n"
        "      - {interface: plant, address: 10.9.2.50, ttl: 16}\n"
    )
    assert file.read_text() == MAIN


def test_a_new_file_has_the_owner_and_mode_of_the_main_file(run_verb, file, folder):
    file.chmod(0o640)
    mask = os.umask(0o077)
    try:
        run_verb("add", "camera", *CAMERA)
    finally:
        os.umask(mask)
    written = (folder / "camera.yaml").stat()
    assert stat.S_IMODE(written.st_mode) == 0o640
    assert (written.st_uid, written.st_gid) == (file.stat().st_uid, file.stat().st_gid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.parametrize(
    "again",
    [
        CAMERA,
        (*CAMERA, "--ttl=64"),
        (*TAKEN, "--output=plant:239.2.2.2:6001", "--dscp=copy", "--description="),
        ("--input=studio:239.1.1.1:05001", "--output=plant:239.2.2.2:6001"),
    ],
)
def test_the_same_rule_in_any_spelling_is_no_change(run_verb, folder, again):
    run_verb("add", "camera", *CAMERA)
    before = contents(folder)
    code, out, _ = run_verb("add", "camera", *again)
    assert (code, out) == (0, f"camera: unchanged, {folder}/camera.yaml:4:3\n")
    assert contents(folder) == before


def test_a_rule_that_the_main_file_has_is_no_change(run_verb, file, folder):
    code, out, _ = run_verb("add", "home", "--input=studio:239.9.9.9:9", "--output=plant:239.9.9.9:9")
    assert (code, out) == (0, f"home: unchanged, {file}:6:3\n")
    assert contents(folder) == {}


def test_a_different_rule_of_the_name_is_replaced_only_with_replace(run_verb, folder):
    run_verb("add", "camera", *CAMERA)
    other = (*TAKEN, "--output=plant")
    code, out, err = run_verb("add", "camera", *other)
    where = f"{folder}/camera.yaml:4:3"
    assert (code, out) == (1, "")
    assert err == f"mcrelay: {where}: another rule has the name `camera`: give --replace to replace it\n"
    assert run_verb("add", "camera", *other, "--replace")[:2] == (
        0,
        f"camera: replaced, {folder}/camera.yaml\n",
    )
    assert "      - {interface: plant}\n" in contents(folder)["camera.yaml"]


def test_a_reader_of_a_replaced_file_reads_the_whole_old_file(run_verb, folder):
    run_verb("add", "camera", *CAMERA)
    before = contents(folder)["camera.yaml"]
    with (folder / "camera.yaml").open() as reader:
        run_verb("add", "camera", *TAKEN, "--output=plant", "--replace")
        assert reader.read() == before
    run_verb("disable", "camera")
    assert [*contents(folder)] == ["camera.yaml"]


def test_a_rule_that_add_did_not_write_is_not_replaced(run_verb, file, folder):
    folder.mkdir()
    (folder / "hand.yaml").write_text(
        MAIN[MAIN.index("rules") :].replace("home", "hand").replace("9.9.9", "1.2.3")
    )
    for name, where in ("home", f"{file}:6:3"), ("hand", f"{folder}/hand.yaml:2:3"):
        code, _, err = run_verb("add", name, *CAMERA, "--replace")
        assert code == 1
        assert err == (
            f"mcrelay: {where}: another rule has the name `{name}`: edit it there, or choose another name\n"
        )


def test_a_rule_that_has_become_invalid_can_be_replaced(run_verb, file, folder):
    run_verb("add", "camera", *CAMERA)
    file.write_text(MAIN.replace("plant", "factory"))
    code, out, _ = run_verb("remove", "nobody")
    assert code == 78
    assert "no interface is named `plant`" in out
    assert run_verb("add", "camera", *TAKEN, "--output=factory", "--replace")[0] == 0
    assert "      - {interface: factory}\n" in contents(folder)["camera.yaml"]


def test_a_warning_is_printed_and_the_rule_is_added(run_verb, folder):
    code, _, err = run_verb("add", "camera", "--input=studio:224.0.0.251:5353", "--output=plant")
    assert code == 0
    assert err.startswith(f"warning: {folder}/camera.yaml:7:9: rules.camera.outputs[0]")
    assert "is link-local" in err


def test_a_file_of_the_name_without_the_rule_is_not_overwritten(run_verb, folder):
    folder.mkdir()
    (folder / "camera.yaml").write_text("interfaces: {more: {device: eth2}}\n")
    code, _, err = run_verb("add", "camera", *CAMERA)
    assert code == 1
    hint = "rename it, or choose another name"
    assert err == f"mcrelay: {folder}/camera.yaml exists, but has no rule `camera`: {hint}\n"


def test_an_invalid_rule_is_reported_as_by_check_and_not_written(run_verb, file, folder):
    code, out, err = run_verb("add", "camera", "--input=studoi:239.1.1.1:70000", "--output=plant", "--ttl=x")
    assert (code, err) == (78, "")
    lines = out.splitlines()
    assert (
        f"{folder}/camera.yaml:5:24: rules.camera.input.interface: no interface is named `studoi`" in lines[0]
    )
    assert [line.strip() for line in lines[1:3]] == [
        "input: {interface: studoi, group: 239.1.1.1, port: 70000}",
        "^",
    ]
    assert "expected a UDP port from 1 to 65535, not 70000" in out
    assert 'expected 1 to 255 or `decrement`, not "x"' in out
    assert lines[-1] == f"{file}: 3 problems: nothing was changed"
    assert not folder.exists()


def test_a_flow_that_another_rule_relays_is_refused(run_verb, folder):
    run_verb("add", "camera", *CAMERA)
    code, out, _ = run_verb("add", "second", *CAMERA)
    assert code == 78
    assert f"already relayed by rule `camera` at {folder}/camera.yaml:4:3" in out
    assert [*contents(folder)] == ["camera.yaml"]


def test_loopback_is_written_to_the_input_and_to_the_outputs(run_verb, folder):
    run_verb("add", "camera", *CAMERA, "--input-loopback", "--output-loopback")
    written = contents(folder)["camera.yaml"]
    assert "input: {interface: studio, group: 239.1.1.1, port: 5001, loopback: true}" in written
    assert "- {interface: plant, group: 239.2.2.2, port: 6001, loopback: true}" in written


def test_sources_may_be_separated_by_comma_and_space(run_verb, folder):
    run_verb("add", "camera", *CAMERA, "--sources=10.0.0.5, 10.0.0.6")
    assert "sources: [10.0.0.5, 10.0.0.6]}" in contents(folder)["camera.yaml"]


def test_a_conflict_is_reported_at_the_added_rule(run_verb, folder):
    run_verb("add", "camera", *CAMERA)
    code, out, _ = run_verb("add", "another", *CAMERA)
    assert code == 78
    assert out.startswith(f"{folder}/another.yaml:5:12: rules.another.input: 239.1.1.1:5001 on ")


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", ".hidden", "", "a b", "-" * 64])
def test_an_invalid_name_never_becomes_a_file(run_verb, folder, name):
    code, out, _ = run_verb("add", *CAMERA, "--", name)
    assert code == 78
    assert "expected a name of 1 to 63 letters" in out
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("--input=studio", "--output=plant"),
            "'studio' is not of the form IFACE:GROUP:PORT, such as `studio:",
        ),
        (("--input=studio::5001", "--output=plant"), "'studio::5001' is not of the form IFACE:GROUP:PORT"),
        ((*TAKEN, "--output=a:b:c:d"), "'a:b:c:d' is not of the form IFACE[:GROUP[:PORT]]"),
        (TAKEN, "the following arguments are required: --output"),
    ],
)
def test_a_malformed_input_or_output_is_a_usage_error(run_verb, capsys, words, complaint):
    with pytest.raises(SystemExit, match="2"):
        run_verb("add", "camera", *words)
    assert complaint in capsys.readouterr().err


def test_invalid_files_are_reported_and_not_changed(run_verb, file, folder):
    file.write_text(MAIN.replace("port: 9", "prot: 9"))
    for words in (("add", "camera", *CAMERA), ("enable", "home")):
        code, out, _ = run_verb(*words)
        assert code == 78
        assert "unknown key; did you mean `port`?" in out
    file.unlink()
    assert run_verb("add", "camera", *CAMERA)[1] == (
        f"{file}: no such file or directory; write it, or name another file\n"
        f"{file}: 1 problem: nothing was changed\n"
    )
    assert not folder.exists()


def test_a_rule_in_two_files_is_reported_with_both_places(run_verb, folder):
    folder.mkdir()
    (folder / "home.yaml").write_text(MAIN[MAIN.index("rules") :])
    for verb in ("remove", "enable"):
        code, out, _ = run_verb(verb, "home")
        assert code == 78
        assert "`home` is given twice, first at" in out


def test_removing_deletes_the_file_and_a_second_time_is_no_error(run_verb, folder):
    run_verb("add", "camera", *CAMERA)
    assert run_verb("remove", "camera")[:2] == (0, f"camera: removed, {folder}/camera.yaml\n")
    assert contents(folder) == {}
    assert run_verb("remove", "camera")[:2] == (0, "there is no rule `camera`\n")
    assert run_verb("remove", "hom")[:2] == (0, "there is no rule `hom`; did you mean `home`?\n")


def test_removing_an_invalid_drop_in_is_possible(run_verb, folder):
    folder.mkdir()
    (folder / "camera.yaml").write_text("rules: {camera: {input: {}}}\n")
    assert run_verb("remove", "camera")[0] == 0
    assert contents(folder) == {}


def test_a_rule_that_shares_its_file_is_not_changed(run_verb, file, folder):
    folder.mkdir()
    two = MAIN[MAIN.index("rules") :].replace("home", "first").replace("9.9.9", "1.1.1")
    (folder / "two.yaml").write_text(
        two + two[two.index("  first") :].replace("first", "second").replace("1.1.1", "1.1.2")
    )
    for name, where in ("home", f"{file}:6:3"), ("second", f"{folder}/two.yaml:3:3"):
        start = f"mcrelay: {where}: `{name}` has no drop-in file of its own: "
        assert run_verb("remove", name) == (1, "", f"{start}delete it there, then run `mcrelay reload`\n")
        by_hand = "write `enabled: false` there, then run `mcrelay reload`"
        assert run_verb("disable", name) == (1, "", f"{start}{by_hand}\n")
        assert run_verb("enable", name)[:2] == (0, f"{name}: unchanged, {where}\n")


def test_a_rule_is_disabled_and_enabled_and_its_comments_stay(run_verb, folder):
    folder.mkdir()
    text = (
        "# ours\nrules:\n  camera: # one\n"
        "    input: {interface: studio, group: 239.1.1.1, port: 5001}  # two\n"
        "    outputs: [{interface: plant}]\n"
    )
    (folder / "50-camera.yaml").write_text(text)
    assert run_verb("disable", "camera")[:2] == (0, f"camera: disabled, {folder}/50-camera.yaml\n")
    disabled = text.replace("    input", "    enabled: false\n    input")
    assert contents(folder) == {"50-camera.yaml": disabled}
    assert run_verb("disable", "camera")[1] == f"camera: unchanged, {folder}/50-camera.yaml:3:3\n"
    assert run_verb("enable", "camera")[:2] == (0, f"camera: enabled, {folder}/50-camera.yaml\n")
    assert contents(folder) == {"50-camera.yaml": disabled.replace("false", "true")}


def test_a_rule_in_unusual_syntax_is_not_changed(run_verb, folder):
    folder.mkdir()
    taken = "input: {interface: studio, group: 239.1.1.1, port: 1}"
    text = f"rules: {{camera: {{? outputs\n: [{{interface: plant}}], {taken}}}}}"
    (folder / "camera.yaml").write_text(text)
    code, _, err = run_verb("disable", "camera")
    assert code == 1
    assert (
        "`enabled` cannot be changed automatically in a file written like this: write `enabled: false` there"
        in err
    )
    assert contents(folder) == {"camera.yaml": text}


def test_a_missing_rule_cannot_be_enabled(run_verb):
    assert run_verb("enable", "hone") == (1, "", "mcrelay: no rule is named `hone`; did you mean `home`?\n")


def test_a_rule_is_added_disabled(run_verb, folder):
    run_verb("add", "camera", *CAMERA, "--disabled")
    assert contents(folder)["camera.yaml"].endswith("    enabled: false\n")
    assert run_verb("disable", "camera")[1] == f"camera: unchanged, {folder}/camera.yaml:4:3\n"


def test_a_drop_in_that_is_a_link_stays_one(run_verb, folder, tmp_path):
    run_verb("add", "camera", *CAMERA)
    elsewhere = tmp_path / "elsewhere.yaml"
    (folder / "camera.yaml").rename(elsewhere)
    (folder / "camera.yaml").symlink_to(elsewhere)
    run_verb("disable", "camera")
    assert (folder / "camera.yaml").is_symlink()
    assert "enabled: false" in elsewhere.read_text()
    run_verb("remove", "camera")
    assert contents(folder) == {}
    assert elsewhere.exists()


def test_a_dry_run_shows_what_plan_would_and_changes_nothing(run_verb, folder):
    code, out, err = run_verb("add", "camera", *CAMERA, "--dry-run")
    assert code == 0
    assert out.splitlines()[0] == f"dry run: camera: added, {folder}/camera.yaml"
    assert "a start would run 0 of 2 rules" in out
    assert "  in   studio (eth0)  239.1.1.1:5001" in out
    assert err.startswith("warning: not compared with a running daemon: ")
    assert not folder.exists()


def test_a_lock_of_another_process_is_waited_for_until_the_timeout(run_verb, file, folder):
    with open(file) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, _, err = run_verb("add", "camera", *CAMERA, "--timeout", "0.2")
    assert (code, err) == (1, f"mcrelay: another process has locked {file}: see `lslocks`\n")
    assert not folder.exists()
    assert run_verb("add", "camera", *CAMERA)[0] == 0


@pytest.mark.parametrize(
    ("error", "code", "complaint"),
    [
        (PermissionError(13, "Permission denied"), 4, "permission denied: use sudo"),
        (OSError(28, "No space left on device"), 1, "no space left on device"),
    ],
)
def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    run_verb, folder, monkeypatch, error, code, complaint
):
    folder.mkdir()

    def refused(*_):
        raise error

    monkeypatch.setattr(os, "replace", refused)
    message = f"mcrelay: cannot write {folder}/camera.yaml: {complaint}\n"
    assert run_verb("add", "camera", *CAMERA) == (code, "", message)
    assert [*folder.iterdir()] == []


def test_many_concurrent_changes_are_all_made(file, folder):
    def adding(number):
        words = ["--input", f"studio:239.1.1.{number}:5001", "--output", "plant", "-c", file]
        command = [sys.executable, "-m", "mcrelay", "add", f"rule-{number}", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    processes = [adding(number % 3) for number in range(6)]
    outcomes = sorted(process.communicate(timeout=120)[0].split()[1] for process in processes)
    assert [process.returncode for process in processes] == [0] * 6
    assert outcomes == [b"added,"] * 3 + [b"unchanged,"] * 3
    assert len(contents(folder)) == 3


# With a daemon.


@contextmanager
def fake_daemon(file, *results):
    """A fake daemon with this file and these results in turn; yields its socket and process."""
    left = [{**RELOAD, **result} for result in results if result is not None]
    marks = [{"begun": 4 + number} for number in range(len(results))]

    def wait(begun):
        return left.pop(0) if left else time.sleep(60)

    with subprocess.Popen(["sh", "-c", "trap : HUP; while :; do sleep 0.05; done"]) as process:
        try:
            hello = {**GREETING, "pid": process.pid, "config": str(file)}
            methods = {
                "reload__mark": lambda: marks.pop(0),
                "reload__wait": wait,
            }
            path = file.with_name("control.sock")
            with serve_answers(path, hello=hello, list={"version": 1, "rules": []}, **methods) as at:
                yield at, process
        finally:
            process.kill()


def test_the_daemons_file_is_the_default_and_its_result_is_printed(file, folder, capsys):
    with fake_daemon(file, {}) as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at]) == 0
    out, err = capsys.readouterr()
    assert (
        out.splitlines()
        == [
            f"camera: added, {folder}/camera.yaml",
            f"{file}: applied, generation 7",
            "  added    1 rule: extra",
            "  removed  2 rules: old, older",
            "  kept     3 rules",
        ]
        or out.splitlines()[1] == "/etc/mcrelay.yaml: applied, generation 7"
    )
    assert err == ""


def test_a_change_that_the_watching_daemon_applied_first_is_reported_as_applied(file, folder, capsys):
    with fake_daemon(file, {"outcome": "unchanged"}) as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at]) == 0
    added = f"camera: added, {folder}/camera.yaml"
    assert capsys.readouterr().out == f"{added}\n{file}: applied already, generation 7\n"


def test_a_rejected_file_is_removed_and_the_daemon_reloads_again(file, folder, capsys):
    rejected = {"outcome": "rejected", "problems": [], "lines": []}
    with fake_daemon(file, rejected, {"outcome": "unchanged"}) as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at]) == 78
    out, _ = capsys.readouterr()
    assert "added," not in out
    assert "rejected, generation 7 still runs" in out
    assert not folder.exists()


def test_a_rejected_change_restores_the_old_file(file, folder, run_verb):
    run_verb("add", "camera", *CAMERA)
    before = contents(folder)
    rejected = {"outcome": "rejected", "problems": [], "lines": []}
    for words in (("disable", "camera"), ("remove", "camera")):
        with fake_daemon(file, rejected, {"outcome": "unchanged"}) as (at, _):
            assert main([*words, "--socket", at]) == 78
        assert contents(folder) == before
        file.with_name("control.sock").unlink()


def test_a_restored_file_has_its_link_and_mode_again(file, folder, run_verb, tmp_path):
    run_verb("add", "camera", *CAMERA)
    run_verb("add", "meter", "--input=studio:239.1.1.9:5009", "--output=plant")
    (folder / "meter.yaml").rename(tmp_path / "elsewhere.yaml")
    (folder / "meter.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (folder / "camera.yaml").chmod(0o604)
    before = contents(folder)
    rejected = {"outcome": "rejected", "problems": [], "lines": []}
    for name in ("camera", "meter"):
        with fake_daemon(file, rejected, {"outcome": "unchanged"}) as (at, _):
            assert main(["remove", name, "--socket", at]) == 78
        file.with_name("control.sock").unlink()
    assert contents(folder) == before
    assert stat.S_IMODE((folder / "camera.yaml").stat().st_mode) == 0o604
    assert (folder / "meter.yaml").readlink() == tmp_path / "elsewhere.yaml"


def test_a_daemon_that_runs_another_file_is_not_reloaded(file, folder, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text(MAIN)
    with fake_daemon(other) as (at, process):
        assert main(["add", "camera", *CAMERA, "--socket", at, "-c", str(file)]) == 0
        pid = process.pid
    out, err = capsys.readouterr()
    assert out == f"camera: added, {folder}/camera.yaml\n"
    assert err == f"mcrelay: not reloaded: the daemon (process {pid}) runs {other}\n"


def test_the_daemons_file_by_another_name_is_the_daemons_file(file, folder, tmp_path, capsys):
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    with fake_daemon(file, {}) as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at, "-c", str(link)]) == 0
    assert capsys.readouterr().out.startswith(f"camera: added, {folder}/camera.yaml\n")


def test_a_daemon_whose_file_is_gone_runs_another_one(file, folder, tmp_path, capsys):
    with fake_daemon(tmp_path / "gone.yaml") as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at, "-c", str(file)]) == 0
    assert f"runs {tmp_path}/gone.yaml" in capsys.readouterr().err


def test_without_permission_to_signal_the_daemon_nothing_is_changed(file, folder, capsys, monkeypatch):
    def forbidden(descriptor, number):
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", forbidden)
    with fake_daemon(file) as (at, _):
        assert main(["add", "camera", *CAMERA, "--socket", at]) == 4
    assert "use sudo" in capsys.readouterr().err
    assert not folder.exists()


def test_a_named_daemon_that_does_not_run_is_an_error(tmp_path, capsys):
    assert main(["add", "camera", *CAMERA, "--run-dir", str(tmp_path)]) == 3
    assert "no daemon at " in capsys.readouterr().err


def test_without_a_result_the_change_stays_and_the_message_says_so(file, folder, capsys):
    with fake_daemon(file, None) as (at, _):
        assert main(["add", "camera", *CAMERA, "--timeout", "0.2", "--socket", at]) == 1
    out, err = capsys.readouterr()
    assert out == f"camera: added, {folder}/camera.yaml\n"
    assert "no result within 0.2 s" in err
