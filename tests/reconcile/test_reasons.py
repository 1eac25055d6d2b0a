"""The reasons of outputs are short, however many outputs there are."""

import pytest

from mcrelay.reconcile.reasons import MAX_REASONS, explain_outputs


def missing(count):
    return [(f"lan{n}", f"device eth{n} is absent") for n in range(count)]


def test_without_missing_outputs_there_is_no_reason():
    assert explain_outputs([], 3) == ""


@pytest.mark.parametrize(("more", "words"), [(1, "and 1 more output"), (9, "and 9 more outputs")])
def test_many_different_reasons_are_cut(more, words):
    reason = explain_outputs(missing(MAX_REASONS + more), MAX_REASONS + more)
    assert reason.count("is absent") == MAX_REASONS
    assert words in reason
