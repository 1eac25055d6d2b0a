"""A client that waits for a reload gets the first result that it asked for, and none of another."""

import json

import pytest

from mcrelay.control.connection import Reply
from mcrelay.control.reload_waits import MAX_WAIT_S, ReloadWaits


def result(number, cause="hangup", is_about_files=True, outcome="applied"):
    return {"finished": number, "cause": cause, "is_about_files": is_about_files, "outcome": outcome}


class WaitsHarness:
    """Results of reloads, and the answers to clients by the name of the client."""

    def __init__(self, *results):
        self.results, self.answers = list(results), {}
        self.waits = ReloadWaits(lambda: self.results)

    def wait(self, client, begun, cause=None, now=10.0):
        def send(pieces):
            assert client not in self.answers, "a request has one answer"
            self.answers[client] = json.loads(b"".join(pieces))["result"]

        self.waits.add(client, Reply(send, 1, False), begun, cause, now)

    def add(self, *results):
        self.results = [*results, *self.results]
        self.waits.answer()


def test_the_answer_comes_when_a_later_reload_has_a_result():
    harness = WaitsHarness(result(4))
    harness.wait("one", begun=4)
    assert harness.answers == {}
    harness.add(result(5))
    assert harness.answers == {"one": result(5)}


def test_an_earlier_result_after_the_mark_is_the_answer_at_once():
    harness = WaitsHarness(result(7), result(6), result(5), result(4))
    harness.wait("one", begun=4)
    harness.wait("two", begun=6)
    assert harness.answers == {"one": result(5), "two": result(7)}


@pytest.mark.parametrize("cause", ["confirm", "deadline", "try"])
def test_a_result_that_is_not_about_the_files_is_no_answer_to_a_reload(cause):
    harness = WaitsHarness()
    harness.wait("one", begun=4)
    harness.add(result(5, cause, is_about_files=False))
    assert harness.answers == {}
    harness.add(result(6, "watch"))
    assert harness.answers == {"one": result(6, "watch")}


def test_a_client_that_names_a_cause_gets_a_result_with_this_cause_only():
    harness = WaitsHarness()
    harness.wait("one", begun=4, cause="try")
    harness.add(result(6, "confirm", is_about_files=False), result(5))
    assert harness.answers == {}
    harness.add(result(7, "try", is_about_files=False))
    assert harness.answers["one"]["finished"] == 7


@pytest.mark.parametrize("cause", ["try", "confirm"])
def test_a_request_that_the_supervisor_could_not_read_ends_the_wait_for_its_result(cause):
    harness = WaitsHarness()
    harness.wait("request", begun=4, cause=cause)
    harness.wait("reload", begun=4)
    harness.wait("hangup of its own", begun=5, cause="deadline")
    refused = result(5, "hangup", is_about_files=False, outcome="refused")
    harness.add(refused)
    assert harness.answers == {"request": refused}


def test_each_of_several_clients_gets_the_first_result_after_its_own_mark():
    harness = WaitsHarness()
    for number in range(4, 7):
        harness.wait(f"after {number}", begun=number)
    harness.add(result(6), result(5))
    harness.add(result(7))
    assert {client: answer["finished"] for client, answer in harness.answers.items()} == {
        "after 4": 5, "after 5": 6, "after 6": 7,
    }  # fmt: skip


def test_without_a_result_the_answer_is_null_after_a_while():
    harness = WaitsHarness()
    harness.wait("one", begun=4, now=10.0)
    harness.wait("two", begun=4, now=11.0)
    harness.waits.expire(10.0 + MAX_WAIT_S)
    assert harness.answers == {"one": None}
    harness.add(result(5))
    assert harness.answers == {"one": None, "two": result(5)}


def test_a_client_that_has_gone_is_not_answered():
    harness = WaitsHarness()
    harness.wait("one", begun=4)
    harness.wait("two", begun=4)
    harness.waits.client_gone("one")
    harness.add(result(5))
    assert harness.answers == {"two": result(5)}


def test_a_client_whose_connection_closes_while_another_is_answered_is_not_answered():
    harness = WaitsHarness()
    harness.waits.add("one", Reply(lambda pieces: harness.waits.client_gone("two"), 1, False), 4, None, 10.0)
    harness.wait("two", begun=4)
    harness.add(result(5))
    assert harness.answers == {}
