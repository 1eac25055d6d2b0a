"""Similar words are found at a cost that no word of a client can raise."""

from mcrelay.model.suggestions import MAX_LISTED, MAX_WORD_LENGTH, did_you_mean, list_words, similar_words


def test_similar_words_begin_with_the_same_letter_and_are_about_as_long():
    known = ["market-data", "market-date", "discovery", "m"]
    assert sorted(similar_words("market-dat", known)) == ["market-data", "market-date"]
    assert similar_words("xarket-data", known) == []
    assert similar_words("", known) == []


def test_of_very_many_words_only_some_are_compared():
    known = [f"rule-{number:05}" for number in range(10_000)]
    near = similar_words("rule-00017", known)
    assert "rule-00017" in near
    assert len(near) == 3
    assert "rule-09999" not in similar_words("rule-09999", known)  # it is behind all that are looked at


def test_a_word_of_any_length_is_cut_before_it_is_compared():
    assert similar_words("x" * 10_000, ["x" * MAX_WORD_LENGTH]) == ["x" * MAX_WORD_LENGTH]


def test_a_message_suggests_the_nearest_known_word_or_nothing():
    assert did_you_mean("portt", ["port", "group"]) == "; did you mean `port`?"
    assert did_you_mean("colour", ["port", "group"]) == ""
    assert did_you_mean("x" * 10_000, ["x" * MAX_WORD_LENGTH]) == f"; did you mean `{'x' * MAX_WORD_LENGTH}`?"


def test_a_message_lists_the_first_words_and_the_number_of_the_others():
    words = [f"word-{number}" for number in range(MAX_LISTED + 3)]
    assert list_words(words[:2]) == "word-0, word-1"
    assert list_words(words[:MAX_LISTED]) == ", ".join(words[:MAX_LISTED])
    assert list_words(words) == ", ".join(words[:MAX_LISTED]) + " and 3 more"
