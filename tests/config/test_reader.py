"""The reader of strict YAML: data, problems, and their locations."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.config.problems import ConfigError, Problem, SourceLocation, format_path, format_value
from mcrelay.config.reader import MAX_DEPTH, MAX_PROBLEMS, parse, parse_all
from mcrelay.config.scalars import AmbiguousScalarError, resolve_scalar
from mcrelay.config.yaml_events import FASTEST_LOADER
from mcrelay.config.yaml_parser import PortableLoader

LOADERS = [pytest.param(FASTEST_LOADER, id="C"), pytest.param(PortableLoader, id="Python")]
both_parsers = pytest.mark.parametrize("loader", LOADERS)


def problems(raw, loader=FASTEST_LOADER):
    """Return the problems of a text, whether or not they stop the reader."""
    try:
        found = parse(raw, "f.yaml", loader).problems
    except ConfigError as invalid:
        found = invalid.problems
    return [(problem.where.line, problem.where.column, problem.path, problem.message) for problem in found]


@both_parsers
def test_data_is_plain_and_every_key_and_value_has_a_location(loader):
    source = parse(b"rules:\n  mdns:\n    input: {port: 5353}\n    outputs:\n      - 7\n", "f.yaml", loader)
    assert source.data == {"rules": {"mdns": {"input": {"port": 5353}, "outputs": [7]}}}
    assert (source.file, source.problems) == ("f.yaml", ())
    assert str(source.where("rules", "mdns", "input", "port")) == "f.yaml:3:19"
    assert str(source.where_key("rules", "mdns", "input", "port")) == "f.yaml:3:13"
    assert str(source.where("rules", "mdns", "outputs", 0)) == "f.yaml:5:9"
    assert str(source.where_key("rules", "mdns", "outputs", 0)) == "f.yaml:5:9"


@both_parsers
def test_a_path_that_does_not_exist_is_at_the_innermost_value_that_does(loader):
    source = parse(b"a:\n  b: 1\n", "f.yaml", loader)
    assert source.where("a", "b", "c", "d") == source.where("a", "b") == SourceLocation("f.yaml", 2, 6)
    assert source.where("x") == SourceLocation("f.yaml", 1, 1)


@both_parsers
@pytest.mark.parametrize("raw", [b"", b"\n\n", b"# nothing but words\n"])
def test_a_file_without_data_is_none(loader, raw):
    assert parse(raw, "f.yaml", loader).data is None


@both_parsers
def test_lines_may_end_as_on_any_system(loader):
    source = parse("a: ä\r\nb: 1\rc: 2\n".encode(), "f.yaml", loader)
    assert [source.where(key).line for key in "abc"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False),
        ("yes", "yes"), ("on", "on"), ("n", "n"), ("10.0.0.1", "10.0.0.1"), ("2001-01-01", "2001-01-01"),
        ("0", 0), ("-17", -17), ("+5", 5), ("0x1F", 31), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("-.inf", float("-inf")), ("-", "-"), ("+a", "+a"), ("239.1.1.1:5001", "239.1.1.1:5001"),
    ],
)  # fmt: skip
def test_a_plain_scalar_has_its_value_of_yaml_1_2(text, value):
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "22:22", "1:30:00", "190:20:30.15", "0123", "08", "-012", "00", "01.5", "0o17", "0b101", "1_000",
        "-0x1", "9" * 19,
    ],
)  # fmt: skip
def test_a_number_that_readers_disagree_on_is_refused(text):
    with pytest.raises(AmbiguousScalarError):
        resolve_scalar(text)


@given(st.from_regex(r"[-+.0-9a-fxob_:eE]{1,12}", fullmatch=True))
def test_a_number_that_is_accepted_has_the_same_value_in_pyyaml(text):
    try:
        value = resolve_scalar(text)
    except AmbiguousScalarError:
        return
    try:
        old = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    if isinstance(value, int) or (isinstance(value, float) and isinstance(old, float)):
        assert old == value
    else:
        assert type(old) is not int


@both_parsers
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a: 1\nb: 2\na: 3\n", (3, 1, "a", "`a` is given twice in this map, first on line 1; delete one")),
        (b"a: 22:22\n", (1, 4, "a", "22:22 is not the same number to every YAML reader; "
                        "write a plain decimal number, or quote it if it is text")),
        (b"a: 9999999999999999999\n", (1, 4, "a", "a number of more than 18 digits")),
        (b"a: *b\n", (1, 4, "a", "aliases are not supported; write the value itself")),
        (b"a: &b 1\n", (1, 4, "a", "anchors are not supported; delete the anchor")),
        (b"a: &b [1]\n", (1, 4, "a", "anchors are not supported; delete the anchor")),
        (b"a: !!str 1\n", (1, 4, "a", "tags are not supported; delete the tag")),
        (b"a: !!python/object:os.system {}\n", (1, 4, "a", "tags are not supported; delete the tag")),
        (b"a:\n  <<: {}\n", (2, 3, 'a."<<"', "merge keys are not supported; write the keys themselves")),
        (b"1: a\n", (1, 1, "1", 'a key must be text; write "1"')),
        (b"true: a\n", (1, 1, "true", 'a key must be text; write "true"')),
        (b"? [x]\n: a\n", (1, 3, '"?"', "a key must be text")),
        (b'a: "\\x1b[31m"\n', (1, 4, "a", "an escaped control character; delete it")),
        (b"a: 1\n--- \nb: 2\n", (2, 1, "",
                                "a second document begins here, and a file has one; delete this line")),
    ],
)  # fmt: skip
def test_a_problem_that_does_not_stop_the_reader_is_reported_at_its_place(loader, raw, expected):
    assert problems(raw, loader) == [expected]


@both_parsers
@pytest.mark.parametrize(
    ("raw", "line", "column", "words"),
    [
        (b"a:\n\tb: 1\n", 2, 1, "tab in the indentation; use spaces"),
        (b"a:\n  \tb: 1\n", 2, 3, "tab in the indentation; use spaces"),
        (b"\xef\xbb\xbfa: 1\n", 1, 1, "byte order mark; save the file as UTF-8 without it"),
        ("a: 1\n".encode("utf-16"), 1, 1, "this is UTF-16 or binary; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16-be"), 1, 1, "this is UTF-16 or binary; save the file as UTF-8"),
        (b"a: 1\nb: \xff\n", 2, 4, "byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \x00\n", 2, 4, "character U+0000 is not allowed; delete it"),
        (b"a: \x1b[31m\n", 1, 4, "character U+001B is not allowed; delete it"),
        ("# a\u2028b: 1\n".encode(), 1, 4, "character U+2028 is not allowed; delete it"),
        (b"\x7fELF\x02\x01\x01", 1, 1, "character U+007F is not allowed; delete it"),
        (b"a: [1, 2\n", 2, 1, "this is not YAML"),
        (b"a: {b: 1\nc: 2\n", 2, 2, "this is not YAML"),
        (b"a: b: c\n", 1, 5, "this is not YAML"),
        (b"@\n", 1, 1, "this is not YAML"),
        (b"a: " + b"[" * 300_000, 1, 35, f"nested more than {MAX_DEPTH} levels deep"),
    ],
)  # fmt: skip
def test_a_problem_that_stops_the_reader_is_reported_at_its_place(loader, raw, line, column, words):
    ((at_line, at_column, _, message),) = problems(raw, loader)
    assert (at_line, at_column, message[: len(words)]) == (line, column, words)
    assert "\n" not in message


@both_parsers
def test_an_alias_bomb_is_not_expanded(loader):
    lines = ["a: &a [x, x]"] + [
        f"{n}: &{n} [*{p}, *{p}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    found = problems("\n".join(lines).encode(), loader)
    assert len(found) == 9 + 16


@both_parsers
def test_a_hostile_file_has_at_most_a_fixed_number_of_problems(loader):
    found = problems(b"[" + b"*a," * (MAX_PROBLEMS + 5) + b"]", loader)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1][3] == f"more than {MAX_PROBLEMS} problems; the rest of the file was not read"


def test_the_problems_of_several_files_are_reported_together():
    assert [source.data for source in parse_all([("a", b"x: 1"), ("b", b"")])] == [{"x": 1}, None]
    with pytest.raises(ConfigError) as caught:
        parse_all([("a", b"x: ["), ("b", b"y: *z"), ("c", b"\tz: 1")])
    assert [problem.where.file for problem in caught.value.problems] == ["a", "b", "c"]


def test_a_problem_is_one_line_and_its_excerpt_points_at_the_place():
    problem = parse(b"a:\n  b: *c\n", "f.yaml").problems[0]
    assert str(problem) == "f.yaml:2:6: a.b: aliases are not supported; write the value itself"
    assert problem.excerpt() == ["  b: *c", "     ^"]
    assert str(ConfigError([problem, problem])) == str(problem)


def test_the_excerpt_of_a_long_line_is_cut_and_printable():
    line = "x" * 1000 + "\t!\x1b" + "y" * 1000
    shown_line, caret = Problem(SourceLocation("f", 1, 1002), "", "", line).excerpt()
    assert len(shown_line) == 100
    assert shown_line[caret.index("^")] == "!"
    assert shown_line.isprintable()


def test_a_problem_of_a_whole_file_has_no_line():
    problem = Problem(SourceLocation("f.yaml"), "", "no such file")
    assert (str(problem), problem.excerpt()) == ("f.yaml: no such file", [])


def test_paths_and_values_in_messages_are_short_and_on_one_line():
    assert format_path(("rules", "a-b", "outputs", 0, "x y\n")) == 'rules.a-b.outputs[0]."x y\\n"'
    assert [format_value(value) for value in (None, True, 3, [], [1], {})] == [
        "null", "true", "3", "an empty list", "a list", "a map",
    ]  # fmt: skip
    assert format_value("x" * 100) == json.dumps("x" * 37 + "...")


yaml_like = st.text(alphabet=st.sampled_from(list(" \n\t:-[]{}&*!|>'\"%@#,?~<ab01._x\\U")), max_size=60)


@given(
    st.one_of(st.binary(max_size=80), yaml_like.map(str.encode)),
    st.sampled_from([FASTEST_LOADER, PortableLoader]),
)
def test_any_input_is_read_or_has_problems_inside_the_text(raw, loader):
    lines = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line, column, _, message in problems(raw, loader):
        assert message
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1
