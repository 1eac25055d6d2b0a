"""Files that are compiled again and again: what has not changed is not parsed again."""

import pytest

from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import parse_all
from mcrelay.storage import section_cache
from mcrelay.storage.config_files import compile_contents
from mcrelay.storage.section_cache import SectionCache

MAIN = ("main", b"version: 1\ninterfaces: {a: {device: eth0}, b: {device: eth1}}\nrules: {}\n")


def drop_in(name, port, more=""):
    rule = f"{{input: {{interface: a, group: 239.1.1.1, port: {port}}}, outputs: [{{interface: b{more}}}]}}"
    return (f"{name}.yaml", f"rules: {{{name}: {rule}}}\n".encode())


@pytest.fixture
def parsed(monkeypatch):
    """The names of the files that are parsed."""
    names = []

    def parse(contents):
        names.extend(name for name, _ in contents)
        return parse_all(contents)

    monkeypatch.setattr(section_cache, "parse_all", parse)
    return names


def test_a_file_with_the_same_content_is_not_parsed_again(parsed):
    cache = SectionCache()
    steps = [
        ([MAIN, drop_in("x", 1)], ["main", "x.yaml"]),
        ([MAIN, drop_in("x", 1), drop_in("y", 2)], ["y.yaml"]),
        ([MAIN, drop_in("x", 3), drop_in("y", 2)], ["x.yaml"]),
        ([MAIN, drop_in("y", 2)], []),
        ([MAIN, drop_in("x", 3)], ["x.yaml"]),  # which was gone
    ]
    before = None
    for contents, expected in steps:
        parsed.clear()
        config = cache.compile(contents, before)
        assert parsed == expected
        assert config == compile_contents(contents)
        assert before is None or all(config.rules[name] is rule for name, rule in before.rules.items()
                                     if config.rules.get(name) == rule)  # fmt: skip
        before = config


@pytest.mark.parametrize(
    "bad",
    [
        drop_in("x", 99999),  # by the schema
        drop_in("x", 1, ", group: 10.0.0.1"),  # by a rule beyond it
        ("x.yaml", b"rules: [\n"),  # no YAML
        ("x.yaml", b"rules: &anchor {}\n"),  # no YAML of ours
        drop_in("y", 1),  # a name that two files have
    ],
)
def test_a_bad_file_is_reported_each_time_and_with_the_same_words(bad):
    cache = SectionCache()
    good = [MAIN, drop_in("y", 2)]
    before = cache.compile(good)
    for contents in ([*good, bad], [*good, bad], [bad, *good]):
        with pytest.raises(ConfigError) as expected:
            compile_contents(contents)
        with pytest.raises(ConfigError) as caught:
            cache.compile(contents, before)
        assert caught.value.lines() == expected.value.lines()
    assert cache.compile(good, before) == before


def test_large_files_are_not_kept(parsed):
    cache = SectionCache()
    large = (MAIN[0], MAIN[1] + b"#" * section_cache.MAX_KEPT_BYTES)
    for _ in range(2):
        assert cache.compile([large]) == compile_contents([MAIN])
    assert parsed == [MAIN[0]] * 2
