"""What a template or a merge has left in a file is named at its place, wherever it stands."""

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import parse
from mcrelay.config.templates import find_templates


@pytest.mark.parametrize(
    ("line", "column", "mark"),
    [
        ("  port: {{ port }}", 9, "{{ port }}"),
        ("  port: '{{ port }}'", 10, "{{ port }}"),
        ("  {{ name }}:", 3, "{{ name }}"),
        ("input: {group: {{ group }}, port: 5001}", 16, "{{ group }}"),
        ("{% if studio %}", 1, "{% if studio %}"),
        ("  {%- endfor -%}", 3, "{%- endfor -%}"),
        ("device: ${DEVICE}", 9, "${DEVICE}"),
        ("device: ${DEVICE:-eth0}", 9, "${DEVICE:-eth0}"),
        ("device: <%= @device %>", 9, "<%= @device %>"),
        ("device: <<DEVICE>>", 9, "<<DEVICE>>"),
        ("port: {{ " + 50 * "p" + " }}", 7, "{{ " + 34 * "p" + "..."),
    ],
)
def test_a_template_that_was_not_rendered_is_named_at_its_place(line, column, mark):
    with pytest.raises(ConfigError) as refused:
        parse(f"version: 1\n{line}\n".encode(), "mcrelay.yaml")
    (problem,) = refused.value.problems
    assert (problem.where.line, problem.where.column) == (2, column)
    assert problem.message == f"a template was not rendered: {mark}; write the value that it stands for"


def test_a_conflict_of_a_merge_is_named_at_each_of_its_lines():
    text = "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n"
    assert [text[:offset].count("\n") + 1 for offset, _ in find_templates(text)] == [2, 4, 6]
    assert all("merge conflict" in message for _, message in find_templates(text))


@pytest.mark.parametrize(
    "text",
    [
        "# {{ ansible_managed }}\nversion: 1",
        "port: 1  # ${PORT}",
        "rule: {description: 'of {{ one }}', enabled: true}",
        "description: of ${ONE}",
        "a: {b: {c: 1}}",
        "version: 1",
    ],
)
def test_comments_and_descriptions_and_nested_maps_are_no_templates(text):
    assert not list(find_templates(text))


def test_a_part_without_a_version_says_how_a_drop_in_is_checked():
    with pytest.raises(ConfigError) as refused:
        compile_config([parse(b"interfaces: {studio: {device: eth0}}\n", "part.yaml")])
    (problem,) = refused.value.problems
    assert problem.message.endswith(
        "checked in its place: `mcrelay check --as /etc/mcrelay.d/NAME.yaml FILE`"
    )


@pytest.mark.parametrize("unit", ["{", "{%", "<%", "${", "<< ", "description: '"])
def test_a_long_line_of_openings_takes_no_longer_than_any_other_text(unit):
    # Any expression that began anew at each opening would take hours for this text.
    assert list(find_templates(unit * 100_000 + "{{")) == []
