"""The nearest of the known words, at a cost that a stranger's word cannot raise."""

from mcrelay.model.suggestions import LONGEST, candidates


def test_candidates_are_those_that_begin_alike_and_are_about_as_long():
    known = ["market-data", "market-date", "discovery", "m"]
    assert sorted(candidates("market-dat", known)) == ["market-data", "market-date"]
    assert candidates("xarket-data", known) == []
    assert candidates("", known) == []


def test_of_very_many_words_only_some_are_compared():
    known = [f"rule-{number:05}" for number in range(10_000)]
    near = candidates("rule-00017", known)
    assert "rule-00017" in near
    assert len(near) == 3
    assert "rule-09999" not in candidates("rule-09999", known)  # it is behind all that are looked at


def test_a_word_of_any_length_is_cut_before_it_is_compared():
    assert candidates("x" * 10_000, ["x" * LONGEST]) == ["x" * LONGEST]
