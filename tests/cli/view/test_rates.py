"""Rates between two answers of one daemon."""

from mcrelay.cli.view.rates import add_rates
from tests.support.status_documents import DOCUMENT, NOW, document, interface, output, rule


def at(seconds, packets, **fields):
    counts = {"packets": packets, "octets": packets * 100}
    return document(
        rule(outputs=[output(**counts)], **counts),
        daemon={**DOCUMENT["daemon"], "uptime": 1000.0 + seconds},
        time=NOW - 3600 * seconds,  # somebody sets the clock back all the time
        interfaces=[interface(**counts)],
        **fields,
    )


def test_a_rate_is_what_came_between_two_answers():
    after = add_rates(at(0, 1000), at(2, 4000))
    (one,) = after["rules"]
    for part in (one["input"], one["outputs"][0], after["interfaces"][0]):
        assert (part["packets_per_second"], part["bits_per_second"]) == (1500, 1_200_000)


def test_what_is_new_keeps_the_rate_that_the_daemon_knows():
    after = add_rates(at(0, 1000), document(rule("new", packets_per_second=7.0)))
    assert after["rules"][0]["input"]["packets_per_second"] == 7.0


def test_what_was_counted_anew_has_not_grown():
    after = add_rates(at(0, 1000), at(2, 10))
    assert after["rules"][0]["input"]["packets_per_second"] == 0


def test_nothing_is_measured_between_two_daemons_or_within_no_time():
    other = at(2, 10)
    other["daemon"]["pid"] = 1
    for after in (other, at(0, 10)):
        assert add_rates(at(0, 1000), after)["rules"][0]["input"]["packets_per_second"] == 20_000.0
