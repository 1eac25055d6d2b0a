"""Rates between two status documents of a daemon."""

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


def test_a_rate_is_computed_between_two_answers():
    after = add_rates(at(0, 1000), at(2, 4000))
    (one,) = after["rules"]
    for part in (one["input"], one["outputs"][0], after["interfaces"][0]):
        assert (part["packets_per_second"], part["bits_per_second"]) == (1500, 1_200_000)


def test_a_new_rule_keeps_the_rate_of_the_daemon():
    after = add_rates(at(0, 1000), document(rule("new", packets_per_second=7.0)))
    assert after["rules"][0]["input"]["packets_per_second"] == 7.0


def test_a_counter_that_was_reset_has_rate_0():
    after = add_rates(at(0, 1000), at(2, 10))
    assert after["rules"][0]["input"]["packets_per_second"] == 0


def test_no_rate_is_computed_between_two_daemons_or_within_no_time():
    other = at(2, 10)
    other["daemon"]["pid"] = 1
    for after in (other, at(0, 10)):
        assert add_rates(at(0, 1000), after)["rules"][0]["input"]["packets_per_second"] == 20_000.0
