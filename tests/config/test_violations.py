"""Every violation of the schema is one sentence at its place."""

import json

import pytest

from mcrelay.config import violations as module
from mcrelay.config.reader import parse
from mcrelay.config.violations import VALUES_BEFORE_COMPILING, find_repeated_texts, find_violations

FEW = VALUES_BEFORE_COMPILING
DURATION = "f:1:10: max_age: expected a number with a unit (ms, s, min or h), such as `50ms` or `5s`"


def found(text):
    """Return the problems of a text without repetitions, as in ConfigError."""
    return list(dict.fromkeys(str(problem) for _, problem in find_violations(parse(text.encode(), "f"))))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers: 0", "f:1:10: workers: expected 1 to 256 or `auto`, not 0"),
        ("workers: atuo", 'f:1:10: workers: expected 1 to 256 or `auto`, not "atuo"; did you mean `auto`?'),
        ("workers: '2'", 'f:1:10: workers: expected 1 to 256 or `auto`, not "2"; write it without quotes'),
        ("workers:", "f:1:9: workers: expected 1 to 256 or `auto`, but the value is missing"),
        ("workers: true", "f:1:10: workers: expected 1 to 256 or `auto`, not true"),
        ("max_age: 5", f"{DURATION}, not 5; add a unit: `5s` or `5ms`"),
        ("max_age: 0.5", f"{DURATION}, not 0.5; add a unit: `0.5s` or `0.5ms`"),
        ("max_age: 5 sec", f'{DURATION}, not "5 sec"; did you mean `5s`?'),
        ("max_age: 50 MS", f'{DURATION}, not "50 MS"; did you mean `50ms`?'),
        ("max_age: 1m", f'{DURATION}, not "1m"; did you mean `1min`?'),
        ("max_age: 5 parsecs", f'{DURATION}, not "5 parsecs"'),
        ("max_age: -5s", f'{DURATION}, not "-5s"'),
        ("max_age: true", f"{DURATION}, not true"),
        ("workers: {}", "f:1:10: workers: expected 1 to 256 or `auto`, not a map"),
        ("version: 1.0", "f:1:10: version: expected 1, the only version there is, not 1.0"),
        ("version: true", "f:1:10: version: expected 1, the only version there is, not true"),
        ("data_plane: usrspace",
         'f:1:13: data_plane: expected `auto`, `kernel` or `userspace`, not "usrspace"; '
         "did you mean `userspace`?"),
        ("interfacs: {}", "f:1:1: interfacs: unknown key; did you mean `interfaces`?"),
        ("xyz: {}",
         "f:1:1: xyz: unknown key; "
         "known here: version, data_plane, workers, watch, max_age, interfaces, rules"),
        ("interfaces: {a: {}}",
         "f:1:14: interfaces.a: `device` is missing; add, for example, `device: eth0`"),
        ("interfaces: {a: {device: eth0, ttl: 300}}",
         "f:1:37: interfaces.a.ttl: expected 1 to 255 or `decrement`, not 300"),
        ("interfaces: {a: {device: eth0, dscp: 64}}",
         "f:1:38: interfaces.a.dscp: expected 0 to 63 or `copy`, not 64"),
        ("interfaces: {a: {device: a-name-of-16-ch}}", None),
        ("interfaces: {a: {device: eth/0}}",
         "f:1:26: interfaces.a.device: expected the name of a Linux network device, without spaces and "
         'without `/`, `:`, `@`, `*`, `?`, not "eth/0"; write `0`: a device has no path'),
        ("interfaces: {a: {device: eth0, source: 10.0.0.01}}",
         'f:1:40: interfaces.a.source: expected an IPv4 address of this host such as 10.9.2.1, '
         'not "10.0.0.01"; each number is 0 to 255, without leading zeros'),
        ("interfaces: {'a b': {device: eth0}}",
         'f:1:14: interfaces."a b": expected a name of 1 to 63 letters, digits, `.`, `_` or `-` '
         'that begins with a letter or a digit, not "a b"'),
        ('interfaces: {"a\\n": {device: eth0}}',
         'f:1:14: interfaces."a\\n": expected a name of 1 to 63 letters, digits, `.`, `_` or `-` '
         'that begins with a letter or a digit, not "a\\n"'),
        ("rules: []", "f:1:8: rules: expected a map of names to rules, not an empty list"),
    ],
)  # fmt: skip
def test_a_violation_is_one_sentence_at_its_place(text, problem):
    assert found(text) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("enabled: yes", "enabled", 'expected `true` or `false`, not "yes"; write `true`'),
        ("enabled: Off", "enabled", 'expected `true` or `false`, not "Off"; write `false`'),
        ("enabled: maybe", "enabled", 'expected `true` or `false`, not "maybe"'),
        ("description: " + "x" * 201, "description",
         f'expected a text of at most 200 characters, not "{"x" * 37}..."'),
        ("input: 3", "input",
         "expected an input: a map with `interface`, `group` or `address`, and `port`, not 3"),
        ("outputs: []", "outputs", "expected a list of at least one output, not an empty list"),
        ("outputs: [3]", "outputs[0]", "expected an output: a map with `interface`, not 3"),
        ("outputs: [{interface: a, ttl: 0}]", "outputs[0].ttl", "expected 1 to 255 or `decrement`, not 0"),
        ("outputs: [{interface: a, port: 0}]", "outputs[0].port",
         "expected a UDP port from 1 to 65535, not 0"),
    ],
)  # fmt: skip
def test_a_violation_in_a_rule_is_one_sentence_too(text, path, words):
    problems = [problem for problem in found(f"rules: {{r: {{{text}}}}}") if "is missing" not in problem]
    assert [problem.split(": ", 1)[1] for problem in problems] == [f"rules.r.{path}: {words}"]


def test_each_missing_key_is_named_with_an_example():
    assert set(found("rules: {r: {input: {}, outputs: [{}]}}")) == {
        "f:1:13: rules.r.input: `interface` is missing; add, for example, `interface: studio`",
        "f:1:13: rules.r.input: `port` is missing; add, for example, `port: 5001`",
        "f:1:13: rules.r.input: `group` or `address` is missing; add, for example, `group: 239.1.1.1`",
        "f:1:34: rules.r.outputs[0]: `interface` is missing; add, for example, `interface: plant`",
    }


@pytest.mark.parametrize("octet", ["256", "999", "01", "-1", "1x", "", " 1", "\u0661"])
def test_an_address_is_a_strict_dotted_quad(octet):
    for quad in (f"{octet}.0.0.1", f"10.{octet}.0.1", f"10.0.0.{octet}"):
        text = json.dumps(quad, ensure_ascii=False)
        assert len(found(f"interfaces: {{a: {{device: eth0, source: {text}}}}}")) == 1


@pytest.mark.parametrize(
    "quad", ["10.0.0.1.", "10.0.0", "10.0.0.1.1", "10.0.0.1/8", "10.0.0.1\n", "localhost"]
)
def test_a_text_that_is_almost_an_address_is_refused(quad):
    assert len(found(f"interfaces: {{a: {{device: eth0, source: {json.dumps(quad)}}}}}")) == 1


@pytest.fixture
def fresh():
    """A validator that has validated nothing."""
    module._validator.cache_clear()
    yield
    module._validator.cache_clear()


@pytest.mark.parametrize("bad", [{0}, {FEW - 1}, {FEW, 3 * FEW - 1}, {*range(3 * FEW)}])
def test_of_many_members_exactly_the_invalid_ones_are_explained(bad, fresh):
    """jsonschema validates the first members, and then only those that the compiled check refuses."""
    rule = "{input: {interface: a, group: 239.1.1.1, port: %s}, outputs: [%s]}"
    outputs = ", ".join(f"{{interface: a, port: {0 if at in bad else 1}}}" for at in range(3 * FEW))
    names = [f"r {at}" if at in bad else f"r{at}" for at in range(3 * FEW)]
    maps = ", ".join(
        f"{name}: {{device: {'x' * 128 if at in bad else 'x'}}}" for at, name in enumerate(names)
    )
    text = f"interfaces: {{{maps}}}\nrules: {{r: {rule % (1, outputs)}}}"
    paths = [path for path, _ in find_violations(parse(text.encode(), "f"))]
    assert len(paths) == 3 * len(bad)
    assert {*paths} == {
        *(("interfaces", names[at]) for at in bad),
        *(("interfaces", names[at], "device") for at in bad),
        *(("rules", "r", "outputs", at, "port") for at in bad),
    }


def test_only_texts_are_named_as_repeated():
    assert find_repeated_texts(["a", 1, 1, "b", "a", "a"]) == [4, 5]


def test_a_repeated_source_is_named_at_each_repetition():
    text = (
        "rules: {r: {input: {interface: a, group: 232.1.1.1, port: 1, sources: [10.0.0.1, 10.0.0.1]},"
        " outputs: [{interface: a}]}}"
    )
    assert found(text) == ["f:1:82: rules.r.input.sources[1]: 10.0.0.1 is given twice; delete it"]


def test_a_key_that_is_probably_mistyped_is_not_missing_as_well():
    text = "rules: {r: {input: {Interface: a, gruop: 239.1.1.1, port:5001: }, output: []}}"
    assert set(found(text)) == {
        "f:1:21: rules.r.input.Interface: unknown key; did you mean `interface`?",
        "f:1:35: rules.r.input.gruop: unknown key; did you mean `group`?",
        'f:1:53: rules.r.input."port:5001": unknown key; write a space after the colon: `port: 5001`',
        "f:1:67: rules.r.output: unknown key; did you mean `outputs`?",
    }
