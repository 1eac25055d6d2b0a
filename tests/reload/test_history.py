"""An entry of the history is read as it was written; other documents are not entries."""

import json

import pytest

from mcrelay.reload.history import Entry, parse_entry

ENTRY = Entry(
    number=7,
    generation=3,
    time=1_795_000_000.5,
    hash="ab" * 32,
    outcome="applied",
    cause="try",
    on_trial=True,
    changes={"added": ["feed"], "kept": 2},
    contents=(("/etc/mcrelay.yaml", "version: 1\n"), ("/etc/mcrelay.d/feed.yaml", "# Gr\u00fc\u00dfe\n")),
)


def written(**changes):
    return json.loads(json.dumps({**ENTRY.as_json(), **changes}))


def test_an_entry_is_read_as_it_was_written():
    assert parse_entry(written()) == ENTRY


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"number": "7"}, {"generation": None}, {"time": "now"}, {"hash": 1},
        {"outcome": None}, {"cause": 1}, {"on_trial": 1}, {"changes": []}, {"contents": {}},
        {"contents": ["ab"]}, {"contents": [["a", "b", "c"]]}, {"contents": [["a", 1]]},
        {"contents": [["a", "b"], None]},
    ],
)  # fmt: skip
def test_a_document_that_is_not_an_entry_is_none(change):
    assert parse_entry(written(**change)) is None
    assert parse_entry({}) is None
