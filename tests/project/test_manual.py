"""The manual: nothing is missing from it, what it shows works, and man(1) takes it without a complaint."""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import which

import pytest
from manual import pages as manual_pages
from manual import roff
from manual.__main__ import main
from manual.pages import TEXTS, pages, parser_of

from mcrelay.cli import VERBS
from mcrelay.cli.exit_codes import Exit
from mcrelay.config.compiler import compiled
from mcrelay.config.reader import parse
from mcrelay.control import clients, connection, trace_sessions
from mcrelay.control.methods import METHODS
from mcrelay.model.counters import SEND_ERROR_MEANINGS, Drop
from mcrelay.protocol import jsonrpc
from mcrelay.protocol.jsonrpc import Code
from mcrelay.status import documents

PAGES = dict(pages())
VERB_PAGES = [f"mcrelay-{verb.name}.1" for verb in VERBS]
SCHEMA_PAGES = {"mcrelay.yaml.5": "mcrelay", "mcrelay-control.7": "status"}
WIDTH = 80


def rendered(content, width=WIDTH):
    """What a reader sees on a terminal, and what groff complains of."""
    assert which("groff"), "groff is missing: apt install groff-base"
    command = ["groff", "-man", "-ww", "-Tascii", "-P-cbou", f"-rLL={width}n"]
    done = subprocess.run(command, input=content, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


@cache
def text_of(page):
    """A page as a reader sees it, its words apart by one space."""
    return " ".join(rendered(PAGES[page], width=5000)[0].split())


def plain(markup):
    """What a reader sees of a piece of markup."""
    return " ".join(re.sub(r"`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)", "", markup).split())


def sections_of(page):
    return re.findall(r'^\.SH "(.*)"$', PAGES[page], re.MULTILINE)


def blocks_of(page):
    """The examples of a page, as one would type them."""
    text = (TEXTS / f"{page}.md").read_text()
    return [
        re.sub("^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", text, re.M)
    ]


COMMANDS = [
    pytest.param(command.strip(), id=f"{page}: {command.strip()}")
    for page in sorted(text.name.removesuffix(".md") for text in TEXTS.glob("*.md"))
    for block in blocks_of(page)
    for line in block.replace("\\\n", "").splitlines()
    for command in re.split(r"&&|\||>", line)
    if re.match(r" *(\$ )?(sudo )?mcrelay [a-z]", command)
]
CONFIGS = [block for block in blocks_of("mcrelay.yaml.5") if re.match("version:|rules:", block)]


@pytest.mark.parametrize("page", PAGES)
def test_man_takes_every_page_without_a_complaint_and_no_line_is_too_wide(page):
    text, complaints = rendered(PAGES[page])
    assert complaints == ""
    assert PAGES[page].isascii()
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_it_is_about_and_where_to_read_on(page):
    assert {"NAME", "DESCRIPTION", "SEE ALSO"} <= set(sections_of(page))
    assert len(set(sections_of(page))) == len(sections_of(page))
    assert f" NAME {page[:-2]} - " in text_of(page)


@pytest.mark.parametrize("page", VERB_PAGES)
def test_every_verb_has_a_page_with_examples_and_its_exit_codes(page):
    assert {"SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"} <= set(sections_of(page))


@pytest.mark.parametrize("page", VERB_PAGES)
def test_a_verb_ends_with_no_code_but_those_that_all_verbs_share(page):
    section = re.search(r'^\.SH "EXIT STATUS"\n(.*?)^\.SH', PAGES[page], re.MULTILINE | re.DOTALL)[1]
    codes = {int(code) for code in re.findall(r"^\.TP\n(\d+)$", section, re.MULTILINE)}
    assert {Exit.OK, Exit.USAGE} <= codes <= set(Exit)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_argument_of_a_verb_is_explained_in_the_words_of_its_help(verb):
    text = text_of(f"mcrelay-{verb.name}.1")
    parser = parser_of(verb)
    for action in parser._actions:
        assert action.help, f"{verb.name}: {action.dest} has no help"
        assert plain(action.help % vars(action)) in text
        for form in action.option_strings or [action.metavar or action.dest]:
            assert form in text


def keys_of(node):
    """Every key of a schema with what is said of it, wherever it stands."""
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from keys_of(part)


@pytest.mark.parametrize(("page", "schema"), SCHEMA_PAGES.items())
def test_every_key_of_a_schema_is_there_with_its_description_and_default(page, schema):
    text = text_of(page)
    keys = list(keys_of(json.loads((manual_pages.SCHEMAS / f"{schema}.schema.json").read_text())))
    assert len(keys) > 20
    for key, part in keys:
        assert f" {key}: " in text
        assert plain(part.get("description", "")) in text
        if part.get("default") not in (None, "", []):
            assert f"default {json.dumps(part['default'])}".replace('"', "") in text


@pytest.mark.parametrize("drop", Drop)
def test_every_drop_reason_says_what_to_do(drop):
    meaning = plain(drop.meaning)
    assert re.search(rf" {drop} .?{re.escape(meaning[1:])}\. ", text_of("mcrelay-drops.7"))


@pytest.mark.parametrize("name", SEND_ERROR_MEANINGS)
def test_every_send_error_says_what_to_do(name):
    meaning = plain(SEND_ERROR_MEANINGS[name])
    assert re.search(rf" {name} .?{re.escape(meaning[1:])}\. ", text_of("mcrelay-drops.7"))


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_is_explained(code):
    assert f" {code.value} {plain(code.meaning)}." in text_of("mcrelay.1")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_overview_leads_to_every_verb(verb):
    assert f"mcrelay-{verb.name}(1)" in text_of("mcrelay.1")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_protocol_is_there_with_its_parameters(method):
    parameters = [f"{one.name}{'' if one.is_required else '?'}" for one in METHODS[method].parameters]
    assert f" {' '.join([method, *parameters])} " in text_of("mcrelay-control.7")


@pytest.mark.parametrize("code", Code)
def test_every_error_of_the_protocol_is_there(code):
    assert re.search(rf" {code.value}\b", text_of("mcrelay-control.7"))


@pytest.mark.parametrize(
    "promise",
    [
        f"at most {jsonrpc.MAX_LINE >> 10} KiB, nested at most {jsonrpc.MAX_DEPTH} deep",
        f"{clients.MOST} connections are served",
        f"say hello within {connection.GREETING:g} seconds",
        f"half done for {connection.HALF_A_LINE:g} seconds",
        f"half done for {connection.STANDSTILL:g} seconds",
        f"silent for {connection.IDLE / 60:g} minutes",
        f"at most {clients.MOST_WAITING >> 20} MiB in all",
        f"at most every {documents.FRESH * 1000:g} milliseconds",
        f"{trace_sessions.MOST_RULES} rules can be traced at once, by {trace_sessions.MOST_OF_ALL} traces "
        f"in all and {trace_sessions.MOST_OF_A_CLIENT} of a connection",
        f"({trace_sessions.DEFAULT_EVENTS}; at most {trace_sessions.MOST_EVENTS})",
    ],
)
def test_the_limits_are_those_of_the_code(promise):
    assert promise in text_of("mcrelay-control.7")


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_leads_to_a_page_that_there_is(page):
    for name, section in re.findall(r"(mcrelay[a-z.-]*)\((\d)\)", text_of(page)):
        assert f"{name}.{section}" in PAGES


def test_every_text_belongs_to_a_page():
    assert {text.name.removesuffix(".md") for text in TEXTS.glob("*.md")} <= PAGES.keys()


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_line_takes_every_command_of_an_example(line):
    words = shlex.split(line, comments=True)
    _, name, *arguments = words[words.index("mcrelay") :]
    verb = next(verb for verb in VERBS if verb.name == name)
    parser_of(verb).parse_args(arguments)


@pytest.mark.parametrize("example", CONFIGS)
def test_every_example_of_a_configuration_is_valid(example):
    if not example.startswith("version"):
        interfaces = "interfaces: {studio: {device: eth0}, plant: {device: eth1}}\n"
        example = f"version: 1\n{interfaces}{example}"
    assert compiled([parse(example.encode(), "example.yaml")]).rules


def test_there_are_examples_to_look_at():
    assert len(COMMANDS) > 15
    assert len(CONFIGS) == 4


def test_the_pages_are_the_same_wherever_they_are_built(monkeypatch):
    for name, value in {"RUNTIME_DIRECTORY": "/elsewhere", "COLUMNS": "40", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert dict(pages()) == PAGES


def test_building_leaves_no_page_behind_whose_source_is_gone(tmp_path):
    (tmp_path / "mcrelay-gone.1").write_text("old")
    (tmp_path / "another.1").write_text("not ours")
    command = [sys.executable, "-m", "manual", str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TEXTS)}, check=True, timeout=120)
    assert {file.name for file in tmp_path.iterdir()} == {*PAGES, "another.1"}
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    main(Path(tmp_path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("markup", "seen"),
    [
        ("a plain\nparagraph", "a plain paragraph"),
        (".not a request", ".not a request"),
        ("'nor this", "'nor this"),
        (r"a back\slash and \fB no font", r"a back\slash and \fB no font"),
        ('"quoted"', '"quoted"'),
        ("`--long-option=it's ^~ \\n`", r"--long-option=it's ^~ \n"),
        ("2 * 3 * 4 and mcrelay.d/*.yaml", "2 * 3 * 4 and mcrelay.d/*.yaml"),
        ("*emphasis* of *two words*", "emphasis of two words"),
        ("mcrelay-send(1) sends", "mcrelay-send(1) sends"),
        ("term\n: what it\nmeans", "term what it means"),
        ("- one\n- two\n  more", "o one o two more"),
        ("    as it\n\n      stands", "as it\n\n stands"),
        ("    .as 'it` -stands", ".as 'it` -stands"),
    ],
)
def test_what_is_written_is_what_a_reader_sees(markup, seen):
    text, complaints = rendered(roff.page("page", 1, "release", f"# HEADING\n\n{markup}"))
    body = text.partition("HEADING\n")[2].rpartition("\n\n\n")[0]
    assert complaints == ""
    assert re.sub(" +", " ", re.sub(r"\n+", " ", body)).split() == seen.split()


def test_an_empty_line_of_an_example_stays():
    content = roff.page("page", 1, "release", "# HEADING\n\n    one\n\n    two\n\nafter")
    assert ".EX\none\n\ntwo\n.EE" in content
