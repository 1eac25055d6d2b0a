"""The benchmark's own arithmetic: the search for a rate, the ratio to a peer, tables, charts and goals."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import paced, results
from benchmarks.bisection import Attempt, highest
from benchmarks.case import DIFFERING, FAN_OUT_8, FLOWS_50, ONE_FLOW, RULES_10000
from benchmarks.figures import Figure, Question, Sample, group_samples, ratio
from benchmarks.generator import Sent
from benchmarks.goals import goals
from benchmarks.peers import configuration, mcr_rules, ruleset
from benchmarks.plot import chart
from benchmarks.rate import QUESTION as RATE
from benchmarks.saturation import QUESTION as SATURATION
from benchmarks.table import cell, number, table
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse

GENERATOR = 1_000_000.0
FACTS = {
    "processors": 2,
    "model": "<model & co>",
    "kernel": "6.1",
    "python": "3.11",
    "numpy": "2.0",
    "load_average": 0.1,
}


def relay(limit, generator=GENERATOR):
    """A relay that loses nothing up to a limit, and the rates that were tried."""
    tried = []

    def attempt(rate):
        tried.append(rate)
        kept = min(rate, generator)
        return Attempt(kept, kept <= limit)

    return attempt, tried


@given(st.floats(2_000, 900_000))
def test_the_search_finds_the_limit_to_within_its_precision(limit):
    attempt, tried = relay(limit)
    found = highest(attempt, 1e9, precision=1.05)
    assert limit / 1.05 <= found.rate <= limit
    assert not found.is_bound
    assert len(tried) < 20


def test_a_relay_that_keeps_up_with_the_generator_is_tried_once():
    attempt, tried = relay(limit=2e9)
    assert highest(attempt, 1e9, precision=1.05) == (GENERATOR, True)
    assert len(tried) == 1


def test_a_generator_that_falls_behind_bounds_what_is_known():
    kept = 400_000.0  # while the relay keeps up, the generator gets no further

    def attempt(rate):
        return Attempt(GENERATOR, False) if rate > GENERATOR else Attempt(min(rate, kept), True)

    assert highest(attempt, 1e9, precision=1.05) == (kept, True)


def test_a_relay_that_always_loses_has_no_lossless_rate():
    attempt, tried = relay(limit=0)
    assert highest(attempt, 1e9, precision=1.05) == (0, False)
    assert len(tried) < 20


QUESTION = Question("speed", "How <fast> & far?", "kpps", "it was counted", is_more_better=True)
FIGURES = [
    Figure(QUESTION, "one", "mcrelay", (600.0, 640.0, 512.0), is_bound=True),
    Figure(QUESTION, "one", "socat", (60.0, 80.0, 64.0)),
    Figure(QUESTION, "two", "mcrelay", (1.234,)),
]


def test_samples_of_all_runs_become_one_figure_for_each_case_and_relay():
    samples = [
        Sample(figure.question, figure.case, figure.relay, value, figure.is_bound)
        for run in range(3)
        for figure in FIGURES
        for value in figure.values[run : run + 1]
    ]
    assert group_samples(samples) == FIGURES


def test_a_ratio_compares_the_values_of_the_same_run():
    assert ratio(FIGURES, QUESTION, "one", "mcrelay", "socat") == 8  # of 10, 8 and 8
    assert ratio(FIGURES, QUESTION, "two", "mcrelay", "socat") is None
    idle = [Figure(QUESTION, "one", "mcrelay", (1.0,)), Figure(QUESTION, "one", "socat", (0.0,))]
    assert ratio(idle, QUESTION, "one", "mcrelay", "socat") is None


def test_a_table_shows_median_spread_bound_and_ratio():
    assert table(QUESTION, FIGURES) == (
        "How <fast> & far? (kpps; more is better)\n"
        "             mcrelay              socat  mcrelay : socat\n"
        "one  600+ (512..640)  64.0 (60.0..80.0)             8.00\n"
        "two             1.23                  -                -\n"
        "it was counted"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.50"), (12.34, "12.3"), (100.4, "100"), (12345.6, "12,346"), (-3, "-3.00")],
)
def test_a_number_has_the_digits_that_matter(value, text):
    assert number(value) == text


def test_a_single_run_has_no_spread():
    assert cell(FIGURES[2]) == "1.23"


def widths_of_bars(svg):
    """The width of each bar of a chart in points, by the bar's name."""
    found = {}
    for element in svg.findall(".//{*}g"):
        if (name := element.get("id", "")).startswith("bar: "):
            numbers = re.findall(r"[ML] ([\d.]+) ", element.find("{*}path").get("d"))
            found[name] = max(map(float, numbers)) - min(map(float, numbers))
    return found


def test_a_chart_is_well_formed_and_has_a_bar_for_each_figure():
    svg = ElementTree.fromstring(chart(QUESTION, FIGURES, results.caption(FACTS)))
    texts = ["".join(element.itertext()).strip() for element in svg.findall(".//{*}text")]
    assert {"How <fast> & far?", "kpps; more is better", "it was counted"} <= set(texts)
    assert {"one", "two", "mcrelay", "socat", "600+", "64.0", "1.23"} <= set(texts)
    assert any("<model & co>" in text for text in texts)
    widths = widths_of_bars(svg)
    assert list(widths) == [f"bar: {figure.case}: {figure.relay}" for figure in FIGURES]
    assert all(0 <= width <= float(svg.get("width").removesuffix("pt")) for width in widths.values())
    assert widths["bar: one: mcrelay"] / widths["bar: one: socat"] == pytest.approx(600 / 64, rel=0.02)


def test_the_figures_of_a_case_stand_together_whatever_their_order():
    figures = [FIGURES[0], FIGURES[2], FIGURES[1]]
    assert chart(QUESTION, figures, "caption") == chart(QUESTION, FIGURES, "caption")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-6, 1e9])
def test_a_chart_of_any_value_can_be_drawn(value):
    ElementTree.fromstring(chart(QUESTION, [Figure(QUESTION, "one", "mcrelay", (value,))], "caption"))


def test_a_goal_is_reached_missed_or_not_measured():
    flow, differing = ONE_FLOW.name, DIFFERING.name
    figures = [
        Figure(RATE, flow, "mcrelay", (700.0,)),
        Figure(RATE, flow, "socat", (350.0,)),
        Figure(SATURATION, flow, "mcrelay", (0.5,)),
        Figure(SATURATION, differing, "mcrelay", (2.0,)),
        Figure(SATURATION, FLOWS_50.name, "mcrelay", (0.6,)),
    ]
    verdicts = [(goal.measured, goal.verdict) for goal in goals(figures)[:6]]
    assert verdicts == [
        (700.0, "reached"),
        (2.0, "not reached"),
        (0.5, "reached"),
        (2.0, "not reached"),
        (1.2, "reached"),
        (None, "not measured"),
    ]


def test_the_cost_in_bursts_must_fall_with_the_rate():
    costs = [24.0, 12.0, 8.0, 10.0, 4.0, 2.0]
    paces = [paced.Pace(rate, paced.BURST_S).label for rate in paced.RATES[1:]]
    figures = [
        Figure(paced.QUESTION, pace, "mcrelay", (cost,)) for pace, cost in zip(paces, costs, strict=True)
    ]
    [goal] = [goal for goal in goals(figures) if goal.text.startswith("CPU time in bursts")]
    assert (goal.measured, goal.verdict) == (1.25, "not reached")


@pytest.mark.parametrize(
    ("packets", "rounds", "was_kept"),
    [(10_000, 10_000, True), (9_400, 9_400, False), (10_000, 6_000, False)],
)
def test_a_pace_is_kept_if_neither_rate_nor_rounds_differ(packets, rounds, was_kept):
    assert paced.Pace(10_000, paced.SMOOTH_S).was_kept(Sent(packets, 1.0, rounds)) is was_kept


def test_mcr_gets_each_rule_with_all_outputs():
    [rule] = json.loads(mcr_rules(FAN_OUT_8))["rules"]
    assert rule["input"] == {"interface": "eth0", "group": "239.1.0.1", "port": 5001}
    assert [one["group"] for one in rule["outputs"]] == [f"239.{n}.0.1" for n in range(2, 10)]


def test_the_results_are_a_document_and_a_chart_for_each_question(tmp_path):
    written = results.write(tmp_path / "results", FIGURES, goals(FIGURES), FACTS, "quick")
    assert {path.name for path in written} == {"results.json", "speed.svg"}
    assert all(path.read_text() for path in written)


@pytest.mark.parametrize("case", [ONE_FLOW, FLOWS_50, FAN_OUT_8, RULES_10000])
def test_each_case_is_a_good_configuration(case):
    case = replace(case, rules=min(case.rules, 1000))
    config = compile_config([parse(configuration(case).encode(), "case.yaml")])
    assert len(config.rules) == case.rules
    assert all(len(rule.outputs) == case.outputs for rule in config.rules.values())
    assert len({(rule.input.destination, rule.input.port) for rule in config.rules.values()}) == case.rules


def test_nftables_copies_to_every_output_and_hands_the_last_on():
    script = ruleset(FAN_OUT_8, "02:00:00:00:00:01")
    assert (script.count("dup to eth1"), script.count("fwd to eth1")) == (7, 1)
    assert "ether daddr set 01:00:5e:09:00:01 ip saddr set 10.2.0.1 ip daddr set 239.9.0.1" in script
