"""A send error is a problem of a rule while it is recent, or as long as no packet refutes it."""

import pytest

from mcrelay.model.counters import OUTPUTS
from mcrelay.model.send_errors import SEND_ERROR_EXPLANATIONS, SEND_ERROR_NAMES
from mcrelay.status.output_errors import (
    CURRENT_S,
    MAX_LABELS,
    UNREFUTED_S,
    OutputError,
    describe_errors,
    last_error,
)

NOW = 1_000.0


def age(time):
    return NOW - time


def counts(**values):
    return [values.get(column, 0) for column in OUTPUTS.columns]


def test_an_output_without_an_error_has_no_last_error():
    assert last_error(counts(packets=7), age) is None


@pytest.mark.parametrize(
    ("index", "name"), [(SEND_ERROR_NAMES.index("EPERM"), "EPERM"), (len(SEND_ERROR_NAMES), "other")]
)
def test_the_last_error_has_its_name_and_age(index, name):
    error = last_error(counts(last_error_time=998_000_000_000, last_error=index), age)
    assert error == OutputError(name, 998_000_000_000, 2.0)
    assert error.as_json() == {
        "name": name, "time": 998.0, "age": 2.0, "explanation": SEND_ERROR_EXPLANATIONS[name],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "seconds", "last_packet", "is_current"),
    [
        ("EPERM", 0.0, 9, True),
        ("EPERM", CURRENT_S - 1, 11, True),
        ("EPERM", CURRENT_S, 11, False),
        ("EPERM", UNREFUTED_S - 1, 10, True),
        ("EPERM", UNREFUTED_S, 10, False),
        ("icmp_port_unreachable", 0.0, 11, True),
        ("no_route", 0.0, 10, False),
    ],
)
def test_an_error_is_current_for_a_while_and_longer_if_no_packet_came_after_it(
    name, seconds, last_packet, is_current
):
    assert OutputError(name, 10, seconds).is_current(last_packet) is is_current


def test_a_reason_names_the_outputs_that_share_an_error():
    refused, full = OutputError("EPERM", 1, 1), OutputError("ENOBUFS", 1, 1)
    labels = [f"plant to 239.2.2.{number}:6001" for number in range(6)]
    assert list(describe_errors(labels[:1], [refused])) == [
        f"output plant to 239.2.2.0:6001: EPERM, {SEND_ERROR_EXPLANATIONS['EPERM']}"
    ]
    many, one = describe_errors(labels, [refused, None, *[refused] * 3, full])
    assert many.startswith(
        f"4 of 6 outputs, {labels[0]}, {labels[2]}, {labels[3]} +{4 - MAX_LABELS}: EPERM, a packet filter"
    )
    assert one.startswith(f"output {labels[5]}: ENOBUFS, ")
