"""A worker applies a batch of actions as a whole or not at all, and answers on its channel."""

import gc
import os
import socket
from contextlib import contextmanager

import pytest

from mcrelay.ipc.channel import ChannelClosed
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.model.actions import Close, DeleteFlow, Open, SetFlow
from mcrelay.model.state import DesiredState, Flow, Ingress, Route
from mcrelay.protocol.framing import MAX_PACKET, PROCESS_PROTOCOL, Hello, WireError, cut_into_packets
from mcrelay.protocol.worker import (
    Acknowledged,
    BatchMessage,
    Instruction,
    Refused,
    decode_answer,
    encode_batch,
)
from mcrelay.supervisor.privileged import open_egress, open_return_socket, open_ring
from tests.netns.support.frames import GROUP, OTHER_GROUP, PORT, Frame, frames_of
from tests.netns.support.worker_harness import WORKER, numbered_payloads


def count_descriptors():
    """Return the number of open descriptors of this process, after collecting what earlier tests left."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_opening_and_closing_resources_leaves_the_others_untouched(harness, left, right):
    harness.apply_rule(harness.to_left())
    other = Flow(harness.eth0, OTHER_GROUP, PORT)
    route = Route("other", (harness.to_right(),))
    harness.apply(Open(WORKER, harness.right), SetFlow(WORKER, other, route))
    both = [Frame(payload=b"one"), Frame(destination=OTHER_GROUP, payload=b"two")]
    harness.relay(*both)
    harness.apply(DeleteFlow(WORKER, other), Close(WORKER, harness.right))
    harness.relay(*both)
    assert left.receive_payloads(2) == [b"one", b"one"]
    assert right.receive_payloads(1) == [b"two"]
    assert harness.drops() == ({}, {"no_rule": 1})


def test_a_flow_that_is_set_again_gets_a_new_route_and_keeps_its_counters(harness, left, right):
    harness.apply_rule(harness.to_left())
    harness.relay(Frame(payload=b"one"))
    harness.apply(Open(WORKER, harness.right), *harness.flow_actions(harness.to_right()))
    harness.relay(Frame(payload=b"two"))
    assert (left.receive_payloads(1), right.receive_payloads(1)) == ([b"one"], [b"two"])
    assert harness.counter_rows.rule("feed")["packets"] == 2


def test_a_closed_ring_is_not_read_and_leaves_no_descriptor(harness):
    before = count_descriptors()
    harness.apply_rule(harness.to_left())
    harness.apply(
        DeleteFlow(WORKER, Flow(harness.eth0, GROUP, PORT)),
        Close(WORKER, harness.left),
        Close(WORKER, Ingress(harness.eth0, 2048)),
    )
    harness.sockets.release_all_except(DesiredState())
    assert count_descriptors() == before
    harness.send(Frame())
    harness.worker.turn(0)
    assert harness.link["packets"] == 0


def test_a_ring_of_larger_frames_replaces_the_old_one(harness, studio, left):
    harness.apply_rule(harness.to_left())
    harness.relay(Frame(payload=b"before"))
    before = count_descriptors()
    for host, device in ((studio.sender, "eth0"), (studio.relay, "eth0"), (studio.relay, "eth1")):
        host.ip(f"link set {device} mtu 9000")
    studio.left.ip("link set eth0 mtu 9000")
    harness.apply(Open(WORKER, Ingress(harness.eth0, 16384)))
    payloads = numbered_payloads(50, 8000)
    harness.relay(*frames_of(payloads))
    assert left.receive_payloads(51) == [b"before", *payloads]
    assert harness.counter_rows.rule("feed")["packets"] == 51
    assert count_descriptors() == before


def test_two_links_are_read_and_counted_separately(harness, studio, left):
    back = Flow(harness.eth2, GROUP, PORT)
    harness.apply(
        *harness.rule_actions(harness.to_left()),
        Open(WORKER, Ingress(harness.eth2, 2048)),
        SetFlow(WORKER, back, Route("back", (harness.to_left(),))),
    )
    with studio.right.enter_namespace():
        other_wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        other_wire.bind(("eth0", 0))
    other_wire.send(bytes(Frame(payload=b"from the right")))
    harness.run_until(lambda: harness.counter_rows.link(harness.eth2)["packets"] == 1)
    harness.relay(Frame(payload=b"from the sender"))
    assert left.receive_payloads(2) == [b"from the right", b"from the sender"]
    assert harness.counter_rows.rule("back")["packets"] == harness.counter_rows.rule("feed")["packets"] == 1
    harness.apply(DeleteFlow(WORKER, back), Close(WORKER, Ingress(harness.eth2, 2048)))
    harness.relay(Frame(payload=b"still"))
    assert left.receive_payloads(1) == [b"still"]


@contextmanager
def unusable_descriptor(kind):
    """Yield a descriptor that no instruction can use."""
    if kind == "memory":
        descriptor = os.memfd_create("no socket")
        yield descriptor
        os.close(descriptor)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            yield sock.fileno()


@pytest.mark.parametrize("kind", ["memory", "UDP socket"])
def test_a_batch_with_an_unusable_ring_changes_nothing_and_leaves_no_descriptor(harness, left, kind):
    harness.apply_rule(harness.to_left())
    with harness.studio.relay.enter_namespace():
        ring, egress = open_ring(Ingress(harness.eth2, 2048)), open_egress(harness.right)
        returning = open_return_socket(0)
    before = count_descriptors()
    with unusable_descriptor(kind) as bad:
        answer = harness.send_batch(
            [
                Instruction(DeleteFlow(WORKER, Flow(harness.eth0, GROUP, PORT))),
                Instruction(Open(WORKER, Ingress(harness.eth2, 2048)), (1,)),
                Instruction(Open(WORKER, harness.right)),
                Instruction(Open(WORKER, Ingress(harness.eth1, 2048)), (2,)),
                Instruction(Open(WORKER, harness.left)),
            ],
            [ring.fileno(), egress.fileno(), returning.fileno(), bad, *[egress.fileno()] * 2],
        )
    assert isinstance(answer, Refused)
    assert (answer.number, answer.index) == (2, 3)
    assert "socket" in answer.reason or f"ring of link {harness.eth1}" in answer.reason
    assert count_descriptors() == before
    harness.relay(Frame(payload=b"untouched"))
    assert left.receive_payloads(1) == [b"untouched"]


def test_a_batch_with_an_unusable_egress_socket_is_refused(harness, left):
    harness.apply_rule(harness.to_left())
    before = count_descriptors()
    with unusable_descriptor("memory") as bad:
        answer = harness.send_batch([Instruction(Open(WORKER, harness.right))], [bad])
    assert isinstance(answer, Refused)
    assert answer.index == 0
    assert count_descriptors() == before
    harness.relay(Frame(payload=b"untouched"))
    assert left.receive_payloads(1) == [b"untouched"]


def test_a_correct_batch_is_applied_after_a_refused_one(harness, left, right):
    harness.apply_rule(harness.to_left())
    with unusable_descriptor("memory") as bad:
        harness.send_batch([Instruction(Open(WORKER, harness.right))], [bad])
    assert harness.apply(
        Open(WORKER, harness.right), *harness.flow_actions(harness.to_right())
    ) == Acknowledged(3)
    harness.relay(Frame(payload=b"better"))
    assert right.receive_payloads(1) == [b"better"]


# The channel.


def test_the_end_of_the_channel_ends_the_worker(harness):
    harness.channel.close()
    with pytest.raises(ChannelClosed):
        harness.worker.turn(TIMEOUT_S * 1000)


def test_a_supervisor_that_closes_the_channel_before_the_answer_ends_the_worker(harness):
    text = encode_batch(BatchMessage(1, 1, ()))
    for packet in cut_into_packets(text):
        harness.channel.send(packet.data)
    harness.channel.close()
    with pytest.raises(ChannelClosed):
        harness.worker.turn(TIMEOUT_S * 1000)


def test_a_worker_says_hello_and_runs_until_the_end_of_its_channel(harness):
    harness.channel.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosed):
        harness.worker.run()
    assert decode_answer(harness.channel.recv(MAX_PACKET)[1:]) == Hello(PROCESS_PROTOCOL)


def test_a_batch_can_arrive_in_several_packets(harness):
    harness.channel.send(b"+[1,")
    harness.channel.send(b".1,[]]")
    harness.worker.turn(TIMEOUT_S * 1000)
    assert decode_answer(harness.channel.recv(MAX_PACKET)[1:]) == Acknowledged(1)


def test_a_supervisor_that_dies_with_an_unread_answer_ends_the_worker(harness):
    harness.channel.send(b".[1,1,[]]")
    harness.worker.turn(TIMEOUT_S * 1000)
    harness.channel.close()  # with the answer unread, so that the worker sees a reset
    with pytest.raises(ChannelClosed):
        harness.worker.turn(TIMEOUT_S * 1000)


@pytest.mark.parametrize("message", [b"?[]", b'.[1,1,[["dance"]]]'])
def test_an_invalid_message_raises_a_wire_error(harness, message):
    harness.channel.send(message)
    with pytest.raises(WireError):
        harness.worker.turn(TIMEOUT_S * 1000)
