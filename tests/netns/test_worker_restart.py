"""A worker that is started again continues where the previous one stopped, and loses nothing."""

import pytest

from mcrelay.protocol.worker import Acknowledged
from mcrelay.supervisor.privileged import RING_OCTETS
from mcrelay.worker.ring import Ring
from tests.netns.support.frames import Frame, frames_of
from tests.netns.support.worker_harness import FEW, MANY, WORKER, numbered_payloads


def test_a_successor_continues_where_the_dead_worker_stopped_and_loses_nothing(harness, left):
    harness.apply_rule(harness.to_left())
    payloads = numbered_payloads(1000)
    harness.relay(*frames_of(payloads[:300]))
    harness.kill_worker()
    harness.send(*frames_of(payloads[300:]))  # they stay in the ring
    harness.start_worker()
    assert harness.apply_rule(harness.to_left()) == Acknowledged(2)
    harness.relay_total(1000)
    assert left.receive_payloads(1000) == payloads
    assert harness.counter_rows.rule("feed")["packets"] == 1000
    assert harness.counter_rows.output("feed", harness.to_left())["packets"] == 1000


def test_a_successor_continues_also_across_the_end_of_the_ring(harness, left):
    size = 1 << 16
    actions = harness.rule_actions(harness.to_left(), frame_size=size)
    harness.apply(*actions)
    payloads = numbered_payloads(3 * RING_OCTETS // size // 2)
    for begin in range(0, len(payloads), 100):
        part = frames_of(payloads[begin : begin + 100])
        harness.relay(*part[:30])
        harness.kill_worker()
        harness.send(*part[30:])
        harness.start_worker()
        harness.apply(*actions)
        harness.relay_total(begin + len(part))
    assert left.receive_payloads(len(payloads)) == payloads


def test_a_successor_relays_all_packets_of_a_full_ring(harness, left):
    size = 1 << 16
    actions = harness.rule_actions(harness.to_left(), frame_size=size)
    harness.apply(*actions)
    harness.relay(*frames_of(numbered_payloads(50)))
    harness.kill_worker()
    room = RING_OCTETS // size
    payloads = numbered_payloads(room + 10)
    harness.send(*frames_of(payloads))
    harness.start_worker()
    harness.apply(*actions)
    harness.run_until(lambda: harness.link["overrun"] == 10)
    assert left.receive_payloads(50 + room) == numbered_payloads(50) + payloads[:room]
    harness.relay(Frame(payload=b"afterwards"))
    assert left.receive_payloads(1) == [b"afterwards"]


class KilledError(BaseException):
    """The end of a worker in the middle of its work, which no code of the worker catches."""


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("has_moved_head", [False, True])
def test_a_worker_that_dies_while_it_releases_frames_sends_at_most_one_batch_twice(
    harness, left, monkeypatch, has_moved_head, count
):
    def die(ring, frame):
        if has_moved_head:
            move(ring, frame)
        raise KilledError

    move = Ring._move_head
    harness.apply_rule(harness.to_left())
    harness.relay(*frames_of(numbered_payloads(5)))
    assert left.receive_payloads(5) == numbered_payloads(5)
    harness.send(*frames_of(numbered_payloads(count)))
    with monkeypatch.context() as patch:
        patch.setattr(Ring, "_move_head", die)
        with pytest.raises(KilledError):
            harness.relay_total(5 + count)
    harness.kill_worker()
    harness.start_worker()
    harness.apply_rule(harness.to_left())
    harness.send(Frame(payload=b"afterwards"))
    received = []
    harness.run_until(lambda: received.extend(left.receive_waiting()) or b"afterwards" in received)
    once = [*numbered_payloads(count), b"afterwards"]
    assert received in (once, numbered_payloads(count) + once)
    size = RING_OCTETS // 2048
    more = numbered_payloads(2 * size)  # once around the ring: every frame was released
    for begin in range(0, len(more), 1000):
        harness.relay(*frames_of(more[begin : begin + 1000]))
    assert left.receive_payloads(len(more)) == more


def test_a_ring_that_is_not_resumed_is_read_from_its_start(harness, left):
    harness.apply_rule(harness.to_left())
    harness.relay(*frames_of(numbered_payloads(20)))
    harness.sockets.close_rings(WORKER, except_for=frozenset())
    harness.kill_worker()
    harness.start_worker()
    harness.apply_rule(harness.to_left())
    harness.relay(Frame(payload=b"fresh"))
    assert left.receive_payloads(21) == [*numbered_payloads(20), b"fresh"]
