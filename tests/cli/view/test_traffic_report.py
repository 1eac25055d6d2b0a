"""The report of `mcrelay receive`, as JSON and as text."""

import numpy as np
import pytest

from mcrelay.cli.view.traffic_report import Observation, build_report, format_report
from mcrelay.traffic.endpoint import Endpoint
from mcrelay.traffic.probe import ProbeChecks
from mcrelay.traffic.statistics import ArrivalBatch, Reception

GROUP, OTHER = Endpoint("239.1.1.1", 5001), Endpoint("239.1.1.2", 5001)
SOURCE = 0x0A000005

WHOLE = """\
Destination                         Packets  Lost  Duplicated  Reordered  Corrupt  TTL  Packets/s  Mbit/s
239.1.1.1:5001  from 10.0.0.5:4000    1,001     0           0          0        0   64      1,000    11.2

Latency in microseconds                      min  p50  p90  p99  p99.9  max
239.1.1.1:5001           from 10.0.0.5:4000   20   20   20   20     20   20

1,001 packets in 1.0 s: none lost, duplicated, reordered or corrupt."""

FOREIGN = """\
Destination                         Packets  Lost  Duplicated  Reordered  Corrupt  TTL  Packets/s  Mbit/s
239.1.1.1:5001  from 10.0.0.5:4000        3     -           -          -        -   64      1,000    11.2

3 packets in 0.0 s, none of them from `mcrelay send`: loss and latency are unknown."""


def count_arrivals(reception, sequences, *, to=GROUP, flow=1, source=SOURCE, latency=20_000):
    """Count packets, 1 ms apart; a sequence number of None means a foreign packet, -1 a corrupt one."""
    count = len(sequences)
    ours = np.array([number is not None for number in sequences])
    number = np.array([number or 0 for number in sequences], np.int64)
    time = 10**9 + 10**6 * np.arange(count)
    full = lambda value: np.full(count, value, np.int64)  # noqa: E731
    verdicts = ProbeChecks(ours, ours, ours & (number >= 0), full(flow), number, time - latency)
    reception.count(
        str(to), ArrivalBatch(full(1400), full(source), full(4000), full(64), full(0), time, verdicts)
    )


def observe(*arrived, destinations=(GROUP,), drops=0, count=None, expect=None):
    """The observation of packets that `arrived`, given as arguments of `count_arrivals`."""
    reception = Reception()
    for arguments in arrived:
        count_arrivals(reception, **arguments)
    dropped = dict.fromkeys(destinations, 0) | {GROUP: drops}
    return Observation(destinations, reception, dropped, 2.5, "idle", count, expect)


def report_on(*arrived, **options):
    """The report about packets that `arrived`."""
    return build_report(observe(*arrived, **options))


def test_a_complete_flow_is_ok():
    result = report_on({"sequences": range(1001)}, expect=1001, count=1001)
    assert result["ok"]
    assert result["problems"] == []
    assert result["total"]["received"] == result["flows"][0]["received"] == 1001
    assert result["total"]["packets_per_second"] == 1000
    assert result["total"]["mbit_per_second"] == 11.2
    assert result["flows"][0]["latency_us"]["p50"] == pytest.approx(20, rel=0.01)
    assert format_report(result) == WHOLE


def test_each_flaw_is_reported():
    result = report_on({"sequences": [0, 1, 4, 3, 3, -1]}, expect=10)
    assert not result["ok"]
    assert result["problems"] == [
        "239.1.1.1:5001: 1 packet lost between the first and the last",
        "239.1.1.1:5001: 1 packet corrupt",
        "239.1.1.1:5001: 4 of 10 expected packets arrived",
    ]
    assert (result["flows"][0]["first_sequence"], result["flows"][0]["last_sequence"]) == (0, 4)
    assert (
        "6 packets in 0.0 s: 1 lost, 1 duplicated, 1 reordered, 1 corrupt.\nPROBLEM  239.1.1.1"
        in format_report(result)
    )


def test_duplicates_and_reordering_are_not_failures():
    assert report_on({"sequences": [0, 2, 1, 1]})["ok"]


def test_socket_drops_are_not_reported_as_loss():
    result = report_on({"sequences": [0, 5]}, drops=4)
    assert result["total"]["socket_drops"] == result["destinations"][0]["socket_drops"] == 4
    assert "this receiver was too slow" in result["problems"][1]


def test_a_group_without_packets_is_a_failure():
    result = report_on({"sequences": [0]}, destinations=(GROUP, OTHER), expect=1)
    assert result["problems"] == ["239.1.1.2:5001: nothing arrived"]
    assert result["total"]["missing"] == result["destinations"][1]["missing"] == 1
    assert format_report(report_on()) == "No packet in 2.5 s.\nPROBLEM  239.1.1.1:5001: nothing arrived"


def test_a_hint_follows_the_group_without_packets():
    observation = observe({"sequences": [0]}, destinations=(GROUP, OTHER))
    assert observation.silent == [OTHER]
    assert build_report(observation, {OTHER: "why"})["problems"] == ["239.1.1.2:5001: nothing arrived: why"]


def test_fewer_packets_than_demanded_are_a_failure():
    assert report_on({"sequences": [0, 1]}, count=3)["problems"] == ["2 of 3 packets arrived"]


def test_foreign_traffic_is_counted_without_loss():
    result = report_on({"sequences": [None, None, None], "latency": 0})
    assert result["ok"]
    assert result["flows"][0]["foreign"] == 3
    assert result["flows"][0]["latency_us"] is None
    assert format_report(result) == FOREIGN
    assert report_on({"sequences": [None]}, expect=3)["problems"] == [
        "239.1.1.1:5001: nothing arrived from `mcrelay send`"
    ]


def test_flows_are_sorted_by_group_and_followed_by_their_total():
    result = report_on(
        {"sequences": [0, 1], "to": OTHER},
        {"sequences": [0], "flow": 2},
        {"sequences": [None]},
        destinations=(GROUP, OTHER),
    )
    assert [(one["destination"], one["flow"]) for one in result["flows"]] == [
        ("239.1.1.1", None),
        ("239.1.1.1", 2),
        ("239.1.1.2", 1),
    ]
    text = format_report(result)
    assert "239.1.1.1:5001  from 10.0.0.5:4000  flow 00000002" in text
    assert "239.1.1.1:5001  from 10.0.0.5:4000  foreign" in text
    assert text.count("all 3 flows") == 1
    assert text.count("all 2 flows") == 1
    assert "Of these, 1 packet did not come from `mcrelay send`: their loss is unknown." in text


def test_clock_differences_stale_packets_and_excess_flows_are_reported():
    result = report_on({"sequences": [10**6, 0], "latency": -5_000_000})
    text = format_report(result)
    assert "Latencies below zero mean that the clocks of sender and receiver differ." in text
    assert "1 packet arrived too late to know whether they are duplicates." in text
    result["total"]["unlisted"] = 7
    assert "7 more belong to further flows, which are not counted separately." in format_report(result)
