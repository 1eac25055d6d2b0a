"""However many want to know how many reloads have begun, the supervisor is asked now and then."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mcrelay.control.connection import Reply
from mcrelay.control.reload_marks import MIN_INTERVAL_S, ReloadMarks
from mcrelay.protocol.control import Mark


class Asked:
    """What the supervisor is asked, and what clients are answered, by their names."""

    def __init__(self):
        self.questions, self.answers = [], {}
        self.marks = ReloadMarks(self.questions.append)

    def ask(self, name, now):
        self.marks.ask(Reply(lambda pieces: self.answers.update({name: b"".join(pieces)}), 1, False), now)

    def told(self, name):
        return b"begun" in self.answers.get(name, b"")


def test_who_asks_while_a_question_is_out_is_answered_by_the_next_one():
    asked = Asked()
    asked.ask("first", 10)
    asked.ask("second", 10)
    assert asked.questions == [Mark(1)]
    assert asked.marks.due is None
    asked.marks.answered(1, 7, 10 + MIN_INTERVAL_S)
    assert asked.told("first")
    assert not asked.told("second")
    assert asked.questions == [Mark(1), Mark(2)]
    asked.marks.answered(2, 8, 11)
    assert b'"begun":8' in asked.answers["second"]


def test_questions_keep_their_distance():
    asked = Asked()
    asked.ask("first", 10)
    asked.marks.answered(1, 7, 10)
    asked.ask("second", 10)
    assert asked.questions == [Mark(1)]
    assert asked.marks.due == 10 + MIN_INTERVAL_S
    asked.marks.ask_when_due(10 + MIN_INTERVAL_S)
    assert asked.questions == [Mark(1), Mark(2)]
    assert asked.marks.due is None


def test_an_answer_to_no_question_of_ours_answers_nobody():
    asked = Asked()
    asked.ask("first", 10)
    asked.marks.answered(99, 7, 11)
    assert not asked.answers


@given(st.lists(st.sampled_from(["ask", "answer", "wait"]), max_size=40))
def test_everybody_is_answered_by_a_question_asked_afterwards(steps):
    asked, now, since = Asked(), 0.0, {}
    for number, step in enumerate([*steps, *["wait", "answer"] * 3]):
        now += MIN_INTERVAL_S if step == "wait" else 0
        if step == "ask":
            since[number] = len(asked.questions)
            asked.ask(number, now)
        elif step == "answer" and asked.questions:
            asked.marks.answered(len(asked.questions), len(asked.questions), now)
        asked.marks.ask_when_due(now)
    for number, before in since.items():
        assert json.loads(asked.answers[number])["result"]["begun"] > before
