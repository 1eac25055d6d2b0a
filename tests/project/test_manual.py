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
from tempfile import TemporaryDirectory

import pytest
from mcrelay_manual.code import SCHEMAS, parser_of

from mcrelay.cli import VERBS
from mcrelay.cli.exit_codes import Exit
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.control import clients, connection, trace_sessions
from mcrelay.control.methods import METHODS
from mcrelay.model.drops import Drop
from mcrelay.model.send_errors import SEND_ERROR_EXPLANATIONS
from mcrelay.protocol import jsonrpc
from mcrelay.protocol.jsonrpc import Code
from mcrelay.status import documents
from tests.support import json_schemas

MANUAL = Path(__file__).parents[2] / "packaging" / "manual"
SOURCES = {source.stem: source.read_text() for source in sorted(MANUAL.glob("*.[0-9].md"))}
VERB_PAGES = [f"mcrelay-{verb.name}.1" for verb in VERBS]
SCHEMA_PAGES = {
    "mcrelay.yaml.5": "mcrelay",
    "mcrelay-control.7": "status",
    **{f"mcrelay-{verb}.1": verb for verb in json_schemas.VERBS if verb != "status"},
}
WIDTH = 80


def build(builder, source, target, **environment):
    """Run Sphinx as `make man` and `make html` do; a warning is an error."""
    options = ["-E", "-W", "--keep-going", "-q", "-b", builder, "-d", f"{target}/.doctrees"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source), str(target)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@cache
def built(builder):
    """Every page that Sphinx builds, by the name of its file."""
    with TemporaryDirectory() as target:
        done = build(builder, MANUAL, target)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        files = [file for file in Path(target).glob("mcrelay*") if file.is_file()]
        return {file.name: file.read_text(encoding="utf-8") for file in files}


def rendered(content, width=WIDTH, device="ascii"):
    """What a reader sees on a terminal, and what groff complains of."""
    assert which("groff"), "groff is missing: apt install groff-base"
    command = ["groff", "-man", "-ww", f"-T{device}", "-P-cbou", f"-rLL={width}n"]
    done = subprocess.run(
        command, input=content, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True
    )
    return done.stdout, done.stderr


@cache
def text_of(page):
    """A page as a reader sees it, its words apart by one space."""
    return " ".join(rendered(built("man")[page], width=5000)[0].split())


def plain(markup):
    """What a reader sees of a piece of markup."""
    return " ".join(re.sub(r"`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)", "", markup).split())


def sections_of(page):
    return re.findall(r"^\.SH (.*)$", built("man")[page], re.MULTILINE)


def blocks_of(page):
    """The examples of a page, as one would type them."""
    return [
        re.sub("^    ", "", block, flags=re.MULTILINE)
        for block in re.findall(r"(?:^    .*\n)+", SOURCES[page], re.M)
    ]


def shown(page):
    """The lines that a command prints in an example: as wide as the command prints them."""
    blocks = re.findall(r"^    \$ (?:.*\n)(?:^    .*\n|^\n)*", SOURCES[page], re.MULTILINE)
    return {line.strip() for block in blocks for line in block.splitlines()}


COMMANDS = [
    pytest.param(command.strip(), id=f"{page}: {command.strip()}")
    for page in SOURCES
    for block in blocks_of(page)
    for line in block.replace("\\\n", "").splitlines()
    for command in re.split(r"&&|\||>", line)
    if re.match(r" *(\$ )?(sudo )?mcrelay [a-z]", command)
]
CONFIGS = [block for block in blocks_of("mcrelay.yaml.5") if re.match("version:|rules:", block)]


def test_every_source_becomes_a_page_for_man_and_for_a_browser():
    assert set(built("man")) == set(SOURCES)
    assert set(built("html")) == {f"{page}.html" for page in SOURCES}


def test_every_verb_has_a_page_and_there_is_none_for_another():
    assert {"mcrelay.1", *VERB_PAGES} == {page for page in SOURCES if page.endswith(".1")}


@pytest.mark.parametrize("page", SOURCES)
def test_man_takes_every_page_without_a_complaint_and_no_line_is_too_wide(page):
    text, complaints = rendered(built("man")[page])
    assert complaints == ""
    assert built("man")[page].isascii()
    assert [line for line in text.splitlines() if len(line) > WIDTH and line.strip() not in shown(page)] == []


@pytest.mark.parametrize("page", SOURCES)
def test_every_page_says_what_it_is_about_and_where_to_read_on(page):
    assert {"NAME", "DESCRIPTION", "SEE ALSO"} <= set(sections_of(page))
    assert len(set(sections_of(page))) == len(sections_of(page))
    assert f" NAME {page[:-2]} - " in text_of(page)


@pytest.mark.parametrize("page", VERB_PAGES)
def test_every_verb_has_a_page_with_examples_and_its_exit_codes(page):
    assert {"SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"} <= set(sections_of(page))


@pytest.mark.parametrize("page", VERB_PAGES)
def test_a_verb_ends_with_no_code_but_those_that_all_verbs_share(page):
    section = re.search(r"^\.SH EXIT STATUS\n(.*?)^\.SH", built("man")[page], re.MULTILINE | re.DOTALL)[1]
    codes = {int(code) for code in re.findall(r"^\.B (\d+)$", section, re.MULTILINE)}
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
    keys = list(keys_of(json.loads((SCHEMAS / f"{schema}.schema.json").read_text())))
    assert len(keys) > 4
    for key, part in keys:
        assert f" {key}: " in text
        assert plain(part.get("description", "")) in text
        if part.get("default") not in (None, "", []):
            assert f"default {json.dumps(part['default'])}".replace('"', "") in text


@pytest.mark.parametrize("drop", Drop)
def test_every_drop_reason_says_what_to_do(drop):
    explanation = plain(drop.explanation)
    assert re.search(rf" {drop} .?{re.escape(explanation[1:])}\. ", text_of("mcrelay-drops.7"))


@pytest.mark.parametrize("name", SEND_ERROR_EXPLANATIONS)
def test_every_send_error_says_what_to_do(name):
    explanation = plain(SEND_ERROR_EXPLANATIONS[name])
    assert re.search(rf" {name} .?{re.escape(explanation[1:])}\. ", text_of("mcrelay-drops.7"))


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
        f"{clients.MAX_CLIENTS} connections are served",
        f"say hello within {connection.HELLO_TIMEOUT_S:g} seconds",
        f"half done for {connection.LINE_TIMEOUT_S:g} seconds",
        f"half done for {connection.SEND_TIMEOUT_S:g} seconds",
        f"silent for {connection.IDLE_TIMEOUT_S / 60:g} minutes",
        f"at most {clients.MAX_UNSENT >> 20} MiB in all",
        f"at most every {documents.MAX_AGE_S * 1000:g} milliseconds",
        f"{trace_sessions.MAX_RULES} rules can be traced at once, by {trace_sessions.MAX_SESSIONS} traces "
        f"in all and {trace_sessions.MAX_SESSIONS_PER_CLIENT} of a connection",
        f"({trace_sessions.DEFAULT_EVENTS}; at most {trace_sessions.MAX_EVENTS})",
    ],
)
def test_the_limits_are_those_of_the_code(promise):
    assert promise in text_of("mcrelay-control.7")


@pytest.mark.parametrize("page", SOURCES)
def test_a_reference_leads_to_a_page_that_there_is(page):
    for name, section in re.findall(r"(mcrelay[a-z.-]*)\((\d)\)", text_of(page)):
        assert f"{name}.{section}" in SOURCES


@pytest.mark.parametrize("page", SOURCES)
def test_a_reference_is_a_link_in_the_browser(page):
    html = built("html")[f"{page}.html"]
    for other in re.findall(r"(mcrelay[a-z.-]*)\((\d)\)", SOURCES[page].partition("## See also")[2]):
        assert f'href="{".".join(other)}.html"' in html


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
    assert compile_config([parse(example.encode(), "example.yaml")]).rules


def test_there_are_examples_to_look_at():
    assert len(COMMANDS) > 15
    assert len(CONFIGS) == 5


def test_the_pages_are_the_same_wherever_they_are_built(tmp_path):
    environment = {"RUNTIME_DIRECTORY": "/elsewhere", "COLUMNS": "40", "NO_COLOR": "1", "TZ": "Asia/Tokyo"}
    assert build("man", MANUAL, tmp_path, **environment).returncode == 0
    assert {page: (tmp_path / page).read_text(encoding="utf-8") for page in SOURCES} == built("man")


@pytest.fixture
def small_manual(tmp_path):
    """A function that builds a manual of one page, and returns what Sphinx says and writes."""
    config = (MANUAL / "conf.py").read_text()
    (tmp_path / "conf.py").write_text(
        config.replace("HERE = Path(__file__).parent", f"HERE = Path({str(MANUAL)!r})")
    )
    (tmp_path / "_static").mkdir()

    def write(text, page="page.1"):
        (tmp_path / f"{page}.md").write_text(text)
        name, _, section = page.rpartition(".")
        with (tmp_path / "conf.py").open("a") as config:
            config.write(f"\nroot_doc = {page!r}\nman_pages = [({page!r}, {name!r}, '', [], {section})]\n")
        done = build("man", tmp_path, tmp_path / "out")
        written = tmp_path / "out" / page
        return done, written.read_text(encoding="utf-8") if written.exists() else ""

    return write


WRITTEN_AND_SEEN = [
    ("a plain\nparagraph", "a plain paragraph"),
    ("a line with\n.request in it", "a line with .request in it"),
    ("'nor this", "'nor this"),
    (r"a back\\slash and \\fB no font", r"a back\slash and \fB no font"),
    ('"quoted"', '"quoted"'),
    ("`--long-option=it's ^~ \\n`", r"--long-option=it's ^~ \n"),
    ("2 * 3 * 4 and `mcrelay.d/*.yaml`", "2 * 3 * 4 and mcrelay.d/*.yaml"),
    ("*emphasis* of *two words*", "emphasis of two words"),
    ("--option and send(2) do it", "--option and send(2) do it"),
    ("term\n: what it\nmeans", "term what it means"),
    ("- one\n- two\n  more", "• one • two more"),
    ("    as it\n\n      stands", "as it stands"),
    ("    .as 'it` -st^nds~\n    .TP \\e", r".as 'it` -st^nds~ .TP \e"),
]


def test_what_is_written_is_what_a_reader_sees_and_can_type(small_manual):
    paragraphs = [f"## Number {number}\n\n{text}" for number, (text, _) in enumerate(WRITTEN_AND_SEEN)]
    done, page = small_manual("\n\n".join(["# page(1)", *paragraphs, "## Number end"]))
    assert done.stderr == ""
    text, complaints = rendered(page, device="utf8")
    assert complaints == ""
    for number, (_, seen) in enumerate(WRITTEN_AND_SEEN):
        body = re.search(rf"^NUMBER {number}\n(.*?)^NUMBER", text, re.MULTILINE | re.DOTALL)[1]
        assert body.split() == seen.split()


def test_an_empty_line_of_an_example_stays(small_manual):
    _, page = small_manual("# page(1)\n\n## Heading\n\n    one\n\n    two\n\nafter\n")
    assert re.search(r"one\n\n +two\n\n +after", rendered(page)[0])


@pytest.mark.parametrize(
    ("page", "text", "complaint"),
    [
        ("page.1", "mcrelay-nothing(1) is no page", r"there is no page mcrelay-nothing\(1\)"),
        ("page.1", "```{options}\n```", "no verb is named page"),
        ("mcrelay-demo.1", "```{arguments}\n```", "nothing to show: remove the directive `arguments`"),
        ("page.1", "```{schema-keys}\n```", "argument"),
    ],
)
def test_a_mistake_in_a_page_fails_the_build(small_manual, page, text, complaint):
    done, _ = small_manual(f"# page(1)\n\n## Heading\n\n{text}\n", page)
    assert done.returncode != 0
    assert re.search(complaint, done.stderr)
