"""What the documentation tells people to type is what the command line takes."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from mcrelay_manual.code import parser_of

from mcrelay.cli import VERBS

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "packaging" / "manual"
CHANGING = MANUAL / "mcrelay-changing.7.md"
PAGES = (*sorted(MANUAL.glob("*.7.md")), ROOT / "README.md")

_INDENTED = re.compile(r"^    (?:\$ )?(?:sudo )?(?:venv/bin/)?(mcrelay [a-z].*)$", re.MULTILINE)
_INLINE = re.compile(r"`(mcrelay [a-z][^`]*)`")


def typed(text):
    """The command lines in a text, each alone."""
    for line in _INDENTED.findall(text.replace("\\\n", "")) + _INLINE.findall(text):
        for command in re.split(r" && (?:sudo )?", line):
            if command.startswith("mcrelay "):
                yield re.split(r" [|>#](?: |$)", re.sub(r"  +#.*", "", command))[0]


def words_of(playbook):
    """The command lines of a playbook: its tasks, its handlers, and what they validate with."""
    for task in tasks_of(playbook):
        yield task.get("ansible.builtin.command") or task["ansible.builtin.template"]["validate"]


def tasks_of(playbook):
    for part in playbook:
        yield from [*part["tasks"], *part["handlers"]] if "hosts" in part else [part]


PLAYBOOKS = [
    yaml.safe_load(block)
    for block in re.findall(r"(?:^(?:    .*)?\n)+", CHANGING.read_text(), re.MULTILINE)
    if block.lstrip().startswith("- ")
]
COMMANDS = sorted({command for page in PAGES for command in typed(page.read_text())}) + [
    words.replace("%s", "draft") for playbook in PLAYBOOKS for words in words_of(playbook)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_takes_every_command_of_the_documentation(command):
    _, name, *arguments = shlex.split(re.sub(r"\{\{.*?\}\}", "x", command))
    (verb,) = (verb for verb in VERBS if verb.name == name)
    if arguments:  # else only the verb is spoken of
        parser_of(verb).parse_args(arguments)


def test_there_is_something_to_look_at():
    assert len(COMMANDS) > 20
    assert len(PLAYBOOKS) == 2


def test_every_handler_is_called_and_every_call_has_a_handler():
    (play,) = PLAYBOOKS[0]
    called = {task["notify"] for task in play["tasks"] if "notify" in task}
    assert called == {handler["listen"] for handler in play["handlers"]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_leads_to_is_there(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


PACKAGES = {file.parent.name: file.read_text() for file in (ROOT / "mcrelay").glob("*/__init__.py")}
KINDS = {name: text.removeprefix('"""').partition(": ")[0].lower() for name, text in PACKAGES.items()}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_first_line_of_a_package_says_whether_it_is_pure_or_runs(name):
    assert KINDS[name] in ("pure", "runs")


def test_the_table_of_packages_has_all_of_them_and_says_the_same():
    table = re.findall(
        r"^\| `(\w+)/` \| (pure|runs) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    assert dict(table) == KINDS


def test_what_calls_itself_pure_is_held_to_it():
    pure = {name for name, kind in KINDS.items() if kind == "pure"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [contract] = [one for one in contracts if one["name"].startswith("the pure packages")]
    assert {f"mcrelay.{name}" for name in pure} == set(contract["source_modules"])
    measured = re.search(r"^PURE_PACKAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert set(measured.split()) == pure


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "benchmarks/README.md"])
def test_every_file_that_a_developer_is_sent_to_is_there(page):
    text = (ROOT / page).read_text()
    places = [ROOT / "mcrelay", ROOT, (ROOT / page).parent]
    for name in set(re.findall(r"`([\w./-]+(?:\.py|\.json|\.yaml|/))`", text)) - {"benchmarks/results/"}:
        assert any((place / name).exists() for place in places), name
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
