"""An ICMP error moves one packet of the right output, and only one that sendmsg(2) has not refused."""

import os
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.linux.return_socket import ReturnedError
from mcrelay.model.counters import COUNTERS_SIZE, MASK, OUTPUTS
from mcrelay.model.state import Egress, Route, RouteOutput
from mcrelay.packet.fib import RouteEntry
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.returns import PAUSE_S, ReturnCounter, ReturnPoller, SendingOutput, _find_asker

HERE, HOST, ROUTER = "10.2.0.1", "10.2.0.2", "10.2.0.77"
FIRST, SECOND = (
    SendingOutput(HOST, 6001, HERE, OUTPUTS.index(0, "packets")),
    SendingOutput(HOST, 6001, HERE, OUTPUTS.index(1, "packets")),
)
GROUP = SendingOutput("239.2.2.2", 5353, HERE, OUTPUTS.index(2, "packets"))


@pytest.fixture
def writer():
    memory = os.memfd_create("counters")
    os.ftruncate(memory, COUNTERS_SIZE)
    yield CounterWriter(memory)
    os.close(memory)


def error(kind=3, code=3, offender=HOST, port=6001):
    return ReturnedError(HOST, port, kind, code, offender)


def counts(writer, row=0):
    found = zip(OUTPUTS.columns, writer.outputs[row].tolist(), strict=True)
    return {name: count for name, count in found if count and not name.startswith("last_")}


def send(writer, row, packets):
    writer.outputs[row, :2] = packets, 100 * packets


def test_an_error_moves_one_packet_and_its_octets(writer):
    send(writer, 0, 3)
    counter = ReturnCounter([], {}, writer)
    counter.count_error([FIRST], error(), 7)
    assert counts(writer) == {"packets": 2, "octets": 200, "icmp_port_unreachable": 1}
    assert writer.outputs[0, OUTPUTS.column("last_error_time")] == 7
    counter.count_error([FIRST], error(port=6002), 8)
    assert counts(writer) == {"packets": 2, "octets": 200, "icmp_port_unreachable": 1}


def test_an_error_about_another_workers_packet_makes_a_negative_number(writer):
    ReturnCounter([], {}, writer).count_error([FIRST], error(), 7)
    assert counts(writer) == {"packets": MASK, "icmp_port_unreachable": 1}
    assert OUTPUTS.total([writer.outputs[0].tolist()])[0] == 0


def test_a_packet_is_sent_and_counted_after_an_error_about_another_workers_packet(writer):
    ReturnCounter([], {}, writer).count_error([FIRST], error(), 7)
    writer.counts[FIRST.counts] += 1  # as the scalar path does
    assert counts(writer) == {"icmp_port_unreachable": 1}


def test_of_two_outputs_with_one_destination_the_one_that_sent_more_has_the_error(writer):
    send(writer, 0, 1)
    send(writer, 1, 2)
    ReturnCounter([], {}, writer).count_error([FIRST, SECOND], error(), 7)
    assert (counts(writer)["packets"], counts(writer, 1)["packets"]) == (1, 1)


@pytest.mark.parametrize(
    ("returned", "name"),
    [
        (error(code=1, offender=ROUTER), "icmp_host_unreachable"),
        (error(code=1, offender=HERE), "no_neighbor"),
        (error(code=13, offender=HERE), None),  # of the host's own packet filter, which also refused the send
        (error(code=3, offender=HERE), None),
    ],
)
def test_an_error_of_this_host_is_about_the_neighbour_or_has_been_counted(writer, returned, name):
    send(writer, 0, 1)
    ReturnCounter([], {}, writer).count_error([FIRST], returned, 7)
    assert counts(writer) == ({name: 1} if name else {"packets": 1, "octets": 100})


@pytest.mark.parametrize(
    ("sender", "asker"),
    [((HOST, 6001), FIRST), ((HOST, 5353), FIRST), ((ROUTER, 5353), GROUP), ((ROUTER, 49_152), GROUP)],
)
def test_an_answer_belongs_to_the_output_that_most_probably_asked(sender, asker):
    assert _find_asker([FIRST, GROUP], *sender) is asker


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_answers_are_read_and_counted(writer, family):
    address = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::ffff:127.0.0.1"}[family]
    with (
        socket.socket(family, socket.SOCK_DGRAM) as back,
        socket.socket(type=socket.SOCK_DGRAM) as host,
    ):
        back.bind((address, 0))
        port = back.getsockname()[1]
        egress = Egress(1, "127.0.0.1")
        output = RouteOutput("plant", egress, "127.0.0.1", 6001, 64, 0)
        counter = ReturnCounter([RouteEntry(Route("feed", (output,)), (0, 3))], {egress: port}, writer)
        for _ in range(3):
            host.sendto(b"answer", ("127.0.0.1", port))
        counter.count(back, 7)
        assert counts(writer, 3) == {"answers": 3}
        ReturnCounter([], {}, writer).count(back, 7)
        assert counts(writer, 3) == {"answers": 3}


@given(st.lists(st.sampled_from(["ready", "resume", "later", "replace"]), max_size=20))
def test_a_socket_is_polled_unless_it_was_read_a_moment_ago(steps):
    poll, now, is_paused = select.poll(), 0.0, False
    with socket.socket(type=socket.SOCK_DGRAM) as back, socket.socket(type=socket.SOCK_DGRAM) as other:
        back.bind(("127.0.0.1", 0))
        other.sendto(b"", back.getsockname())
        poller = ReturnPoller(poll)
        poller.replace([back])
        for step in steps:
            if step == "ready" and poll.poll(0):
                assert poller.get(back.fileno()) is back
                poller.pause(back.fileno(), now)
                is_paused, end = True, now + PAUSE_S
            elif step == "resume" and is_paused:
                is_paused = now < end
                wanted = [1000 * (end - now)] * 2 if is_paused else [None, 99_999]
                assert [poller.resume(now, timeout) for timeout in (None, 99_999)] == wanted
            elif step == "later":
                now += PAUSE_S / 2
            elif step == "replace":
                poller.replace([back])
                is_paused = False
            assert poller.is_paused is is_paused
            assert bool(poll.poll(0)) is not is_paused
