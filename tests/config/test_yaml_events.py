"""What users read of a file is the same whatever PyYAML and libyaml do."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mcrelay.config import yaml_events
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import MAX_DEPTH, parse
from mcrelay.config.yaml_events import FASTEST_LOADER, YamlEvents
from mcrelay.config.yaml_parser import PortableLoader

CONFIG = """\
version: 1
interfaces:
  lan: {device: eth0}  # what is this?
  wan: {device: eth1, ttl: 4}
rules:

  # the first
  radio:
    description: what is said, and when?
    input: {interface: lan, group: 239.1.1.1, port: 5000}
    outputs:
      - {interface: wan}
  "video":
    description: >-\t# folded
      of the
        gate
    input:
      interface: lan
      group: 239.1.1.2
      port: 5001\t# a tab
    outputs: [{interface: wan, ttl: 3}, {interface: lan}]
"""


def outcome(text, loader):
    """Everything that users can see of a text: its data, the places of its parts, and its problems."""
    try:
        source = parse(text.encode(), "f.yaml", loader)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return (
        repr(source.data),
        list(places(source, source.data, ())),
        [str(problem) for problem in source.problems],
    )


def places(source, data, path):
    yield source.where(*path), source.where_key(*path)
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield from places(source, data[key], (*path, key))


class Unlucky:
    """A parser that fails at an event, with words and a place of its own."""

    def __init__(self, text, events):
        self._get_event = PortableLoader(text).get_event
        self._left = events

    def get_event(self):
        self._left -= 1
        if self._left < 0:
            raise yaml.MarkedYAMLError(
                "while it was tired", None, "it stopped", yaml.Mark("", 0, 0, 0, "", 0)
            )
        return self._get_event()


class Shallow:
    """A parser that refuses deep nesting before its first event, as libyaml 0.2.6 does, which looks ahead."""

    def __init__(self, text):
        self._get_event = FASTEST_LOADER(text).get_event
        self._is_deep = text.count("[") > 20

    def get_event(self):
        if self._is_deep:
            raise yaml.MarkedYAMLError(None, None, "exceeded max depth", yaml.Mark("", 0, 0, 0, "", 0))
        return self._get_event()


def unlucky(events):
    return lambda text: Unlucky(text, events)


faulty_parsers = pytest.mark.parametrize(
    "loader",
    [
        pytest.param(FASTEST_LOADER, id="the-fastest"),
        pytest.param(PortableLoader, id="portable"),
        pytest.param(Shallow, id="shallow"),
        pytest.param(unlucky(0), id="fails-at-once"),
        pytest.param(unlucky(3), id="fails-at-the-third-event"),
    ],
)


NESTED = f"1:35: a{'[0]' * (MAX_DEPTH - 1)}"


COLON = (
    "this `:` does not belong here; correct the indentation, add a `:` that the line above lacks, or put"
    " a text with `: ` in quotes"
)
STRAY = (
    "this does not continue the map or list before it; correct its indentation, or put the whole text"
    " in quotes"
)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1, 2\n", "2:1", "a `,` or a `]` is missing before this"),
        ("a: {b: 1\nc: 2\n", "2:2", "a `,` or a `}` is missing before this"),
        ("a: b: c\n", "1:5", COLON),
        ("a: 1\n b: 2\n", "2:3", COLON),
        ("a: 1\nb\n", "2:1", "a `:` is missing after this key"),
        ("- 1\nb: 2\n", "2:1", STRAY),
        ("a:\n b: 1\n- c\n", "3:1", STRAY),
        ("a: - 1\n", "1:4", "a list cannot begin here; put its first `-` on a new line"),
        ("@\n", "1:1", "a text cannot begin with `@`; put it in quotes"),
        ("-\ta\n", "1:2", "a tab cannot stand here; use spaces"),
        ("b: 1\na: 'b\n", "2:4", "this quote is not closed; add the second one at the end of the text"),
        ('a: "\\q"\n', "1:6", "`\\q` has no meaning in double quotes; use single quotes"),
        ("a: }\n", "1:4", "a value is missing before `}`"),
        ("a: [,]\n", "1:5", "a value is missing before `,`"),
        (
            "a: |x\n", "1:5",
            "expected a comment or a line break, but found 'x' while scanning a block scalar",
        ),
        ("a\n...\nb: 2\n", "3:1", "expected '<document start>', but found '<block mapping start>'"),
        ("a: !<x\n", "1:7", "expected '>', but found '\\n' while parsing a tag"),
        ("a: !b!c d\n", "1:4", "found undefined tag handle '!b!' while parsing a node"),
        ("%YAML 1.2\n%YAML 1.2\n--- a\n", "2:1", "found duplicate YAML directive"),
        ("%YAML x\n--- a\n", "1:7", "expected a digit, but found 'x' while scanning a directive"),
        (
            'a: "\\x4"\n', "1:7",
            "expected escape sequence of 2 hexadecimal numbers, but found '\"'"
            " while scanning a double-quoted scalar",
        ),
        (
            "a: |0\n", "1:5",
            "expected indentation indicator in the range 1-9, but found 0 while scanning a block scalar",
        ),
        (
            "a: *\n", "1:5",
            "expected alphabetic or numeric character, but found '\\n' while scanning an alias",
        ),
    ],
)  # fmt: skip
@faulty_parsers
def test_a_fault_has_the_same_words_and_place_from_every_parser(loader, text, place, words):
    assert outcome(text, loader) == [f"f.yaml:{place}: this is not YAML: {words}"]


@faulty_parsers
def test_a_depth_that_a_parser_refuses_is_refused_with_our_own_words(loader):
    message = f"f.yaml:{NESTED}: nested more than {MAX_DEPTH} levels deep"
    assert outcome("a: " + "[" * 300_000, loader) == [message]


@faulty_parsers
def test_a_depth_that_a_parser_refuses_and_we_do_not_is_read(loader):
    text = "a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)
    assert parse(text.encode(), "f.yaml", loader).data["a"][0][0]


@faulty_parsers
def test_an_escape_that_is_no_character_is_a_problem_at_its_place(loader):
    assert outcome('a: "\\UFFFFFFFF"\n', loader) == ["f.yaml:1:7: there is no such character"]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: b\tc\t# d\n", {"a": "b\tc"}),
        ("a:\tb\nc: [\td,\te]\t\n", {"a": "b", "c": ["d", "e"]}),
        ("a: >\t\n b\n\n c\n", {"a": "b\nc\n"}),
        ("a: |2-  # b\n   c\n", {"a": " c"}),
        ("a: |+1#\n b\n\n", {"a": "b\n\n"}),
        ("a: b c\n  d\n\n  e # f\n", {"a": "b c d\ne"}),
        ("a: b\n---\n", {"a": "b"}),
        ("{a: why?, b: who ?me, http://c?d: e:f}\n", {"a": "why?", "b": "who ?me", "http://c?d": "e:f"}),
        ("{.:}\n", {".": None}),
        ("a: [b: , c:]\n", {"a": [{"b": None}, {"c": None}]}),
        ("{? a: b}\n", {"a": "b"}),
    ],
)
def test_a_text_that_only_one_of_pyyaml_s_parsers_reads_is_read_the_same_way(text, data):
    assert outcome(text, FASTEST_LOADER) == outcome(text, PortableLoader)
    assert parse(text.encode(), "f.yaml").data == data


alphabet = st.sampled_from(list(" \n\t:-[]{}&*!|>'\"%@#,?~<ab01._x\\U`=é\r"))
pieces = st.sampled_from([
    "a: 1\n", "  b: x\n", "- ", "{", "}", "[", "]", ", ", "'", '"', "a", "b: ", "? ", ": ", "\n", "  ",
    "    ", "#c\n", "|\n", ">-\n", "|2\n", ">+ #c\n", "---\n", "...\n", "%YAML 1.2\n", "&a ", "*a", "!t ",
    "\\x4", "x", "\\q", "\t", "?", "a:\n", "  c:\n", "    d: [1]\n", "  e: {f: g}\n", "\r\n", "\r", "h: i\n",
])  # fmt: skip
texts = st.one_of(st.text(alphabet, max_size=20), st.lists(pieces, max_size=16).map("".join))


@st.composite
def edited(draw):
    """A configuration in which a few characters are not as they were."""
    text = CONFIG
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 3, len(text))))
        text = text[:start] + draw(st.text(alphabet, max_size=3)) + text[end:]
    return text


@given(st.one_of(texts, edited()))
@example(CONFIG)
@example("? a\n")
@example("b: \r  c:\n%YAML 1.2\n*a>\n|2\n")
@example("[!x-\t\\b0x??:")
def test_both_parsers_show_the_same(text):
    assert outcome(text, FASTEST_LOADER) == outcome(text, PortableLoader)


@given(st.one_of(texts, edited(), st.just(CONFIG)), st.integers(0, 80))
def test_wherever_a_parser_fails_the_portable_one_reads_on(text, events):
    assert outcome(text, unlucky(events)) == outcome(text, PortableLoader)


def test_a_parser_that_reads_something_else_is_not_believed():
    def other(text):
        return Unlucky(text.replace("radio", "rad"), 30)

    assert outcome(CONFIG, other) == outcome(CONFIG, PortableLoader)


def test_a_parser_that_passes_over_a_fault_is_not_believed():
    def other(text):
        return Unlucky(text.replace("}", "x"), 7)

    assert outcome("a: 1\nb: }\nc: 1\n", other) == outcome("a: 1\nb: }\nc: 1\n", PortableLoader)


def test_a_fault_at_the_end_of_a_long_file_is_found_without_reading_all_of_it_again(monkeypatch):
    given_texts = []

    class Watched(PortableLoader):
        def __init__(self, text):
            given_texts.append(text)
            super().__init__(text)

    rules = "".join(f"  r{number}: {{input: {{port: 1}}}}\n" for number in range(1000))
    text = f"version: 1\nrules:  # all\n{rules}  last: [\nnext: 1\n"
    expected = outcome(text, PortableLoader)
    monkeypatch.setattr(yaml_events, "PortableLoader", Watched)
    assert outcome(text, FASTEST_LOADER) == expected
    assert given_texts == ["rules:  # all\n  last: [\nnext: 1\n"]


def test_without_libyaml_the_portable_parser_gives_all_events():
    events = YamlEvents("a: 1\n", PortableLoader)
    kinds = [type(events.next()) for _ in range(4)]
    assert kinds == [yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent, yaml.ScalarEvent]
