"""The supervisor gets few requests for the number of reloads, however many clients ask for it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.control.connection import Reply
from mcrelay.control.reload_marks import MIN_INTERVAL_S, ReloadMarks
from mcrelay.protocol.control import Mark


class MarksHarness:
    """The requests to the supervisor, and the answers to clients by the name of the client."""

    def __init__(self):
        self.requests, self.answers = [], {}
        self.marks = ReloadMarks(self.requests.append)

    def ask(self, name, now):
        self.marks.ask(Reply(lambda pieces: self.answers.update({name: b"".join(pieces)}), 1, False), now)

    def is_answered(self, name):
        return b"begun" in self.answers.get(name, b"")


def test_a_client_that_asks_while_a_request_is_pending_is_answered_by_the_next_request():
    harness = MarksHarness()
    harness.ask("first", 10)
    harness.ask("second", 10)
    assert harness.requests == [Mark(1)]
    assert harness.marks.due is None
    harness.marks.answered(1, 7, 10 + MIN_INTERVAL_S)
    assert harness.is_answered("first")
    assert not harness.is_answered("second")
    assert harness.requests == [Mark(1), Mark(2)]
    harness.marks.answered(2, 8, 11)
    assert b'"begun":8' in harness.answers["second"]


def test_requests_have_a_minimum_interval():
    harness = MarksHarness()
    harness.ask("first", 10)
    harness.marks.answered(1, 7, 10)
    harness.ask("second", 10)
    assert harness.requests == [Mark(1)]
    assert harness.marks.due == 10 + MIN_INTERVAL_S
    harness.marks.ask_when_due(10 + MIN_INTERVAL_S)
    assert harness.requests == [Mark(1), Mark(2)]
    assert harness.marks.due is None


def test_an_answer_with_an_unknown_number_answers_no_client():
    harness = MarksHarness()
    harness.ask("first", 10)
    harness.marks.answered(99, 7, 11)
    assert not harness.answers


@given(st.lists(st.sampled_from(["ask", "answer", "wait"]), max_size=40))
def test_each_client_is_answered_by_a_request_that_was_sent_after_its_own(steps):
    harness, now, since = MarksHarness(), 0.0, {}
    for number, step in enumerate([*steps, *["wait", "answer"] * 3]):
        now += MIN_INTERVAL_S if step == "wait" else 0
        if step == "ask":
            since[number] = len(harness.requests)
            harness.ask(number, now)
        elif step == "answer" and harness.requests:
            harness.marks.answered(len(harness.requests), len(harness.requests), now)
        harness.marks.ask_when_due(now)
    for number, before in since.items():
        assert json.loads(harness.answers[number])["result"]["begun"] > before
