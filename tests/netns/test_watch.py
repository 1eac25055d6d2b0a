"""A changed file is applied by itself, however it was saved, and never before it is whole."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

from mcrelay.lab import Daemon
from mcrelay.lab.command import wait_until

MAIN = "version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\n"
QUIETLY = 1.5  # seconds in which a change that is seen would have been applied
BETWEEN_LOOKS = 5.5  # seconds in which the daemon looks at least once, whatever it hears


def rules(*numbers):
    """Return different rules, one a line."""
    return "rules:\n" + "".join(rule(number) for number in numbers)


def rule(number):
    """The line of one rule."""
    group = f"239.1.{number // 250}.{number % 250}"
    return (
        f"  r{number}: {{input: {{interface: a, group: {group}, port: 5001}}, outputs: [{{interface: b}}]}}\n"
    )


ONE, TWO, THREE = (MAIN + rules(*range(1, count + 1)) for count in (1, 2, 3))


@pytest.fixture
def host(lab):
    return lab.host("relay")


@contextmanager
def watching(host, folder, config=ONE, **options):
    """A daemon that watches its file."""
    with Daemon(host, folder, config, **options) as daemon:
        yield daemon


@pytest.fixture
def daemon(host, tmp_path):
    with watching(host, tmp_path / "daemon") as daemon:
        yield daemon


def assert_applied(daemon, generation, count):
    """The next reload is applied, and there are `count` rules now."""
    noun = "rule" if count == 1 else "rules"
    status = daemon.await_reload()
    while "no such file" in status or status.startswith("unchanged: "):
        status = daemon.await_reload()  # a slow machine was caught while the file was away
    assert status.startswith(f"applied: generation {generation}, {count} {noun} "), status


def assert_nothing_happens(daemon, pause=QUIETLY):
    """No reload begins meanwhile."""
    begun = reloads(daemon)
    time.sleep(pause)
    assert reloads(daemon) == begun, daemon.log()


def reloads(daemon):
    """Return the lines of the log in which reloads ended."""
    ends = ("applied:", "unchanged:", "rejected;")
    return [line for line in daemon.log().splitlines() if line.removeprefix("mcrelay: ").startswith(ends)]


def rename_over(path, text):
    """Save as Ansible and most editors do."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.rename(path)


def link(path, target):
    """Let a path be a link, at once."""
    new = path.with_name(f".{path.name}.link")
    new.symlink_to(target)
    new.rename(path)


# Ways to save.


def by_truncating(path, text):
    path.write_text(text)


def by_renaming(path, text):
    rename_over(path, text)


def by_moving_in_from_elsewhere(path, text):
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_text(text)
    elsewhere.rename(path)


def by_copying_with_the_old_time(path, text):
    kept = path.with_name("kept")
    kept.write_text(text)
    os.utime(kept, ns=(0, path.stat().st_mtime_ns))
    subprocess.run(["cp", "-p", kept, path], check=True)


def by_sed(path, text):
    lines = "".join(f"{line}\\\n" for line in text.splitlines() if line not in path.read_text().splitlines())
    subprocess.run(["sed", "-i", "-e", "$a\\\n" + lines.removesuffix("\\\n"), path], check=True)


def as_vim_does(path, text):
    """Save as vim does with `backup`: try the folder, move the old file away, write a new one."""
    attempt, backup, swap = (path.with_name(name) for name in ("4913", f"{path.name}~", f".{path.name}.swp"))
    swap.write_bytes(bytes(4096))
    attempt.touch()
    attempt.unlink()
    path.rename(backup)
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    backup.unlink()
    swap.unlink()


def with_a_script(path, text):
    """Append a rule with the shell."""
    addition = text.removeprefix(path.read_text())
    subprocess.run(["sh", "-c", 'printf %s "$1" >> "$2"', "sh", addition, path], check=True)


WAYS = [
    by_truncating,
    by_renaming,
    by_moving_in_from_elsewhere,
    by_copying_with_the_old_time,
    by_sed,
    as_vim_does,
    with_a_script,
]


@pytest.mark.parametrize("save", WAYS)
def test_a_saved_file_is_applied_once(daemon, save):
    save(daemon.config, TWO)
    assert_applied(daemon, 2, 2)
    save(daemon.config, THREE)
    assert_applied(daemon, 3, 3)
    assert_nothing_happens(daemon)


@pytest.mark.skipif(not shutil.which("vim"), reason="vim is not installed")
def test_vim_saves_once(daemon):
    commands = ["-c", "normal Go" + rule(2).rstrip(), "-c", "wq"]
    editor = ["vim", "-u", "NONE", "-n", "-es", *commands, daemon.config]
    subprocess.run(editor, check=True, stdin=subprocess.DEVNULL, timeout=30)
    assert_applied(daemon, 2, 2)
    assert_nothing_happens(daemon)


def test_a_file_that_is_written_slowly_is_applied_whole(daemon):
    with daemon.config.open("w") as file:
        for line in (MAIN + rules(*range(1, 21))).splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.1)
        time.sleep(0.5)  # a stalled connection
        file.write(rule(21))
    assert_applied(daemon, 2, 21)
    assert_nothing_happens(daemon)


def test_a_writer_who_never_closes_the_file_is_not_waited_for_for_ever(daemon):
    with daemon.config.open("w") as file:
        file.write(TWO)
        file.flush()
        assert_nothing_happens(daemon)
        assert_applied(daemon, 2, 2)


def test_a_touched_file_is_no_reload(daemon):
    daemon.config.touch()
    daemon.config.chmod(0o600)
    rename_over(daemon.config, ONE)
    assert_nothing_happens(daemon)


def test_what_editors_leave_beside_the_files_is_no_reload(daemon):
    folder = daemon.config.with_name("mcrelay.d")
    folder.mkdir()
    for name in ("mcrelay.yaml~", ".mcrelay.yaml.swp", "4913", "mcrelay.yaml.bak"):
        (folder / name).write_text("no YAML: [")
        daemon.config.with_name(name).write_text("no YAML: [")
    (folder / ".hidden.yaml").write_text("no YAML: [")
    assert_nothing_happens(daemon)


# Links and folders.


def test_a_link_is_followed_wherever_it_points_to(host, tmp_path):
    for name, text in (("old", ONE), ("new", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "relay.yaml").write_text(text)
    folder = tmp_path / "daemon"
    with watching(host, folder) as daemon:
        link(daemon.config, "../old/relay.yaml")
        assert_nothing_happens(daemon)
        link(daemon.config, "../new/relay.yaml")
        assert_applied(daemon, 2, 2)
        by_truncating(tmp_path / "new" / "relay.yaml", THREE)
        assert_applied(daemon, 3, 3)
        by_truncating(tmp_path / "old" / "relay.yaml", TWO)
        assert_nothing_happens(daemon)


def test_a_linked_folder_is_followed_wherever_it_points_to(host, tmp_path):
    for name, text in (("v1", ONE), ("v2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mcrelay.yaml").write_text(text)
    current = tmp_path / "current"
    current.symlink_to("v1")
    with watching(host, tmp_path / "daemon") as daemon:
        link(daemon.config, "../current/mcrelay.yaml")
        assert_nothing_happens(daemon)
        link(current, "v2")
        assert_applied(daemon, 2, 2)
        by_renaming(tmp_path / "v2" / "mcrelay.yaml", THREE)
        assert_applied(daemon, 3, 3)


def volume(folder, version, **files):
    """Fill a folder as Kubernetes mounts a ConfigMap: links into `..data`, a link that is swapped."""
    data = folder / f"..{version}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / f"{name}.yaml").write_text(text)
        if not (folder / f"{name}.yaml").is_symlink():
            link(folder / f"{name}.yaml", f"..data/{name}.yaml")
    old = (folder / "..data").resolve()
    link(folder / "..data", data.name)
    if old.name != "..data":
        shutil.rmtree(old)


def test_a_config_map_is_applied_when_it_is_swapped(host, tmp_path):
    folder = tmp_path / "daemon"
    with watching(host, folder) as daemon:
        volume(folder, "2024_01", mcrelay=ONE)
        volume(folder, "2024_02", mcrelay=TWO)
        assert_applied(daemon, 2, 2)
        volume(folder, "2024_03", mcrelay=THREE)
        assert_applied(daemon, 3, 3)
        assert_nothing_happens(daemon)


def test_a_config_map_of_drop_ins_is_applied_when_it_is_swapped(daemon):
    folder = daemon.config.with_name("mcrelay.d")
    volume(folder, "2024_01", more=rules(2))
    assert_applied(daemon, 2, 2)
    volume(folder, "2024_02", more=rules(2, 3))
    assert_applied(daemon, 3, 3)
    volume(folder, "2024_03", more=rules(2), other=rules(4, 5))
    assert_applied(daemon, 4, 4)


def test_a_folder_of_drop_ins_may_come_go_and_come_again(daemon):
    folder = daemon.config.with_name("mcrelay.d")
    for generation in (2, 4, 6):
        folder.mkdir()
        by_renaming(folder / "more.yaml", rules(2))
        assert_applied(daemon, generation, 2)
        shutil.rmtree(folder)
        assert_applied(daemon, generation + 1, 1)


def test_the_folder_of_the_file_may_be_removed_and_made_again(host, tmp_path):
    home = tmp_path / "etc" / "relay"
    home.mkdir(parents=True)
    (home / "mcrelay.yaml").write_text(ONE)
    with watching(host, tmp_path / "daemon") as daemon:
        link(daemon.config, home / "mcrelay.yaml")
        assert_nothing_happens(daemon)
        shutil.rmtree(home.parent)
        assert daemon.await_reload().startswith(f"rejected: {daemon.config}: no such file")
        home.mkdir(parents=True)
        by_truncating(home / "mcrelay.yaml", TWO)
        assert_applied(daemon, 2, 2)
        by_renaming(home / "mcrelay.yaml", THREE)
        assert_applied(daemon, 3, 3)


def test_a_folder_whose_place_another_takes_is_noticed(host, tmp_path):
    home, other = tmp_path / "home", tmp_path / "other"
    for folder, text in ((home, ONE), (other, TWO)):
        folder.mkdir()
        (folder / "mcrelay.yaml").write_text(text)
    with watching(host, tmp_path / "daemon") as daemon:
        link(daemon.config, home / "mcrelay.yaml")
        assert_nothing_happens(daemon)
        home.rename(tmp_path / "old")
        other.rename(home)
        assert_applied(daemon, 2, 2)
        by_renaming(home / "mcrelay.yaml", THREE)
        assert_applied(daemon, 3, 3)


def test_a_thousand_files_at_once_are_few_reloads(daemon):
    folder = daemon.config.with_name("mcrelay.d")
    folder.mkdir()
    for number in range(2, 1002):
        (folder / f"{number}.yaml").write_text(rules(number))
    wait_until(lambda: "1001 rules" in daemon.log(), "all files", seconds=60)
    assert len(reloads(daemon)) < 20


# What is wrong.


def test_a_rejected_content_is_told_once_and_changes_nothing(daemon):
    by_truncating(daemon.config, "version: 2\n")
    assert daemon.await_reload().startswith(f"rejected: {daemon.config}:1:10: ")
    before = daemon.log()
    daemon.config.touch()
    by_renaming(daemon.config, "version: 2\n")
    assert_nothing_happens(daemon, BETWEEN_LOOKS)
    assert daemon.log() == before
    by_truncating(daemon.config, "version: 3\n")
    assert daemon.await_reload().startswith("rejected")
    by_truncating(daemon.config, ONE)
    assert daemon.await_reload().startswith("unchanged: generation 1, 1 rule ")
    by_truncating(daemon.config, TWO)
    assert_applied(daemon, 2, 2)


def test_a_file_that_is_gone_is_told_once_and_changes_nothing(daemon):
    daemon.config.unlink()
    assert daemon.await_reload().startswith(f"rejected: {daemon.config}: no such file or directory")
    assert_nothing_happens(daemon, BETWEEN_LOOKS)
    by_truncating(daemon.config, TWO)
    assert_applied(daemon, 2, 2)


# Together with reloads that are asked for.


def test_who_asks_for_a_reload_before_the_file_is_quiet_gets_it_and_nothing_follows(daemon):
    with daemon.config.open("w") as file:
        file.write(TWO)
        file.flush()
        assert daemon.reload().startswith("applied: generation 2, ")
    assert_nothing_happens(daemon)
    assert [line.split(":")[1].strip() for line in reloads(daemon)] == ["applied"]


def test_who_asks_for_a_reload_of_what_is_applied_already_is_told_how_it_stands(daemon):
    by_renaming(daemon.config, TWO)
    assert_applied(daemon, 2, 2)
    asked = daemon.ask("reload")
    verdict, state = asked.stdout.splitlines()
    assert (asked.returncode, verdict) == (0, f"{daemon.config}: unchanged, generation 2 still runs")
    assert state == "  2 rules do not run: r1, r2: input: device eth0 is absent"
    assert daemon.await_reload().startswith("unchanged: generation 2, ")
    by_renaming(daemon.config, "version: 2\n")
    assert daemon.await_reload().startswith("rejected")
    assert daemon.ask("reload").returncode == 78


def test_reloads_and_changes_in_any_order_count_every_content_once(daemon):
    for number in range(2, 22):
        by_renaming(daemon.config, MAIN + rules(*range(1, number + 1)))
        time.sleep(0.05 * (number % 7))  # before, while and after the daemon looks by itself
        assert daemon.ask("reload").returncode == 0
        assert f", {number} rules (" in reloads(daemon)[-1]
    assert_nothing_happens(daemon)
    generations = [line.split()[2] for line in daemon.log().splitlines() if ", rules: " in line]
    assert generations == [f"{number}," for number in range(1, 22)]


def test_what_was_rolled_back_is_not_applied_again_until_it_changes_or_somebody_asks(daemon):
    assert daemon.ask("try", "--timeout", "6").returncode == 0
    assert daemon.await_reload().startswith("unchanged: generation 1 ")
    by_renaming(daemon.config, TWO)
    assert daemon.await_reload().startswith("applied: generation 2 (on trial ")
    assert daemon.await_reload().startswith("rolled back: generation 3, 1 rule ")
    daemon.config.touch()
    assert_nothing_happens(daemon, BETWEEN_LOOKS)
    assert daemon.reload().startswith("applied: generation 4, 2 rules ")
    by_renaming(daemon.config, THREE)
    assert_applied(daemon, 5, 3)


# Switched off.


def test_a_daemon_that_is_not_to_watch_waits_until_it_is_told(host, tmp_path):
    with watching(host, tmp_path / "daemon", watch=False) as daemon:
        by_truncating(daemon.config, TWO)
        assert_nothing_happens(daemon, BETWEEN_LOOKS)
        assert daemon.reload().startswith("applied: generation 2, 2 rules ")
        assert_nothing_happens(daemon)


def test_the_file_itself_says_whether_it_is_watched(daemon):
    by_truncating(daemon.config, ONE + "watch: false\n")
    assert_applied(daemon, 2, 1)
    by_truncating(daemon.config, TWO)
    assert_nothing_happens(daemon, BETWEEN_LOOKS)
    assert daemon.reload().startswith("applied: generation 3, 2 rules ")
    by_truncating(daemon.config, THREE)
    assert_applied(daemon, 4, 3)
