"""The benchmark's own arithmetic: the search for a rate, the ratio to a peer, tables, charts and goals."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import paced, publish, results, usage
from benchmarks.bisection import Attempt, highest
from benchmarks.case import DIFFERING, FAN_OUT_8, FLOWS_50, ONE_FLOW, RULES_10000
from benchmarks.figures import Figure, Question, Sample, group_samples, ratio
from benchmarks.generator import Sent
from benchmarks.goals import goals
from benchmarks.overview import overview
from benchmarks.peers import EXCLUSIVE, KERNEL, USERSPACE, dup_ruleset, mcr_rules, ruleset
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


def test_a_table_shows_median_spread_and_bound():
    assert table(QUESTION, FIGURES) == (
        "How <fast> & far? (kpps; more is better)\n"
        "       mcrelay      socat\n"
        "one  600+ ±15%  64.0 ±25%\n"
        "two       1.23          -\n"
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


def verdicts(figures, start):
    """What is measured for the goals that begin so, and whether they are reached."""
    return [(goal.measured, goal.verdict) for goal in goals(figures) if goal.text.startswith(start)]


def test_a_goal_is_reached_missed_or_not_measured():
    flow, us = ONE_FLOW.name, USERSPACE.name
    figures = [
        Figure(RATE, flow, us, (700.0,)),
        Figure(RATE, flow, "socat", (350.0,)),
        Figure(SATURATION, flow, us, (0.5,)),
        Figure(SATURATION, DIFFERING.name, us, (2.0,)),
        Figure(SATURATION, FLOWS_50.name, us, (0.6,)),
    ]
    assert verdicts(figures, "userspace: lossless rate") == [(700.0, "reached"), (2.0, "not reached")]
    assert verdicts(figures, "userspace: CPU time a packet")[:4] == [
        (0.5, "reached"),
        (2.0, "not reached"),
        (1.2, "reached"),
        (None, "not measured"),
    ]


def test_each_form_of_the_kernel_plane_is_compared_with_the_relays_in_the_kernel():
    costs = {"mcrelay kernel": 2.0, "mcrelay exclusive": 0.8, "smcroute": 2.5, "nftables": 1.25}
    figures = [Figure(SATURATION, ONE_FLOW.name, relay, (cost,)) for relay, cost in costs.items()]
    assert verdicts(figures, "kernel: CPU time a packet beside")[:2] == [
        (0.8, "not reached"),
        (1.6, "not reached"),
    ]
    exclusive = verdicts(figures, "exclusive: CPU time a packet beside")
    assert exclusive[:2] == [(0.32, "reached"), (0.64, "reached")]


@pytest.mark.parametrize(
    ("rate", "is_bound", "verdict"),
    [(400, True, "generator too slow"), (400, False, "not reached"), (450, True, "reached")],
)
def test_a_rate_that_the_generator_limits_does_not_miss_its_goal(rate, is_bound, verdict):
    figures = [
        Figure(RATE, ONE_FLOW.name, KERNEL.name, (rate,), is_bound),
        Figure(RATE, ONE_FLOW.name, "nftables", (300.0,)),
    ]
    assert verdicts(figures, "kernel: lossless rate beside nftables', 1 flow, 1400 B") == [
        (rate / 300, verdict)
    ]


def test_a_cost_that_is_less_than_the_noise_reaches_no_goal():
    pace = paced.Pace(1_000, paced.SMOOTH_S).label
    figures = [
        Figure(paced.QUESTION, pace, KERNEL.name, (-4.0,)),
        Figure(paced.QUESTION, pace, "socat", (40.0,)),
    ]
    [first, *_] = verdicts(figures, "kernel: CPU time a packet beside socat's")
    assert first == (-0.1, "less than the noise")


def test_the_cost_in_bursts_must_fall_with_the_rate():
    costs = [24.0, 12.0, 8.0, 10.0, 4.0, 2.0]
    paces = [paced.Pace(rate, paced.BURST_S).label for rate in paced.RATES[1:]]
    figures = [
        Figure(paced.QUESTION, pace, USERSPACE.name, (cost,)) for pace, cost in zip(paces, costs, strict=True)
    ]
    assert verdicts(figures, "userspace: CPU time in bursts") == [(1.25, "not reached")]


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


@pytest.mark.parametrize("relay", [KERNEL, EXCLUSIVE, USERSPACE], ids=lambda relay: relay.name)
@pytest.mark.parametrize("case", [ONE_FLOW, FLOWS_50, FAN_OUT_8, RULES_10000], ids=lambda case: case.name)
def test_each_case_is_a_good_configuration_of_each_plane(case, relay):
    case = replace(case, rules=min(case.rules, 1000))
    config = compile_config([parse(relay.configuration(case).encode(), "case.yaml")])
    assert len(config.rules) == case.rules
    assert all(len(rule.outputs) == case.outputs for rule in config.rules.values())
    assert len({(rule.input.destination, rule.input.port) for rule in config.rules.values()}) == case.rules
    assert {rule.data_plane for rule in config.rules.values()} == {relay.data_plane}
    assert {rule.exclusive for rule in config.rules.values()} == {relay is EXCLUSIVE}


def test_nftables_copies_to_every_output_and_hands_the_last_on():
    script = ruleset(FAN_OUT_8, "02:00:00:00:00:01")
    assert (script.count("dup to eth1"), script.count("fwd to eth1")) == (7, 1)
    assert "ether daddr set 01:00:5e:09:00:01 ip saddr set 10.2.0.1 ip daddr set 239.9.0.1" in script


def test_nftables_dup_rewrites_each_copy_at_the_egress():
    script = dup_ruleset(FAN_OUT_8, "02:00:00:00:00:01")
    assert (script.count("dup to eth1"), script.count("fwd to")) == (8, 0)
    assert "meta mark set 8 dup to eth1\nmeta mark set 0\n" in script
    assert "chain o8 {\nether saddr set 02:00:00:00:00:01 ether daddr set 01:00:5e:09:00:01" in script
    assert "hook egress device eth1" in script
    assert "8 : jump o8" in script


COSTS = [
    Figure(paced.QUESTION, paced.Pace(rate, round_s).label, relay, (cost * 10_000 / rate,))
    for rate in paced.RATES
    for round_s in (paced.SMOOTH_S, paced.BURST_S)
    for relay, cost in (("mcrelay kernel", 2.0), ("socat", 30.0), ("nftables", -0.1))
]
RATES = [
    Figure(RATE, ONE_FLOW.name, "mcrelay kernel", (612.0,), is_bound=True),
    Figure(RATE, FAN_OUT_8.name, "mcrelay kernel", (301.0,)),
]


def test_the_overview_shows_rates_and_costs_and_leaves_out_what_has_no_logarithm():
    svg = ElementTree.fromstring(overview([*RATES, *COSTS], "caption"))
    texts = ["".join(element.itertext()).strip() for element in svg.findall(".//{*}text")]
    assert {"612+", "301", "1 flow to 8 groups", "CPU time of a packet (us), smooth"} <= set(texts)
    assert (texts.count("mcrelay kernel"), texts.count("socat"), "nftables" in texts) == (1, 1, False)
    assert overview(FIGURES, "caption") == ""


def test_the_overview_can_be_drawn_from_one_question():
    for figures in (RATES, COSTS):
        ElementTree.fromstring(overview(figures, "caption"))


def document(effort="full", figures=()):
    return results.document([*RATES, *COSTS, *figures], [], FACTS, effort)


def test_only_a_whole_run_is_published_and_a_short_one_is_called_so():
    assert "one short run" in publish.block(document("quick"), publish.ROOT)
    assert "one short run" not in publish.block(document(), publish.ROOT)
    assert "lack" in publish.why_not(document())
    questions = {question for rows in publish.ROWS.values() for _, question, _ in rows}
    assert publish.why_not(document(figures=[Figure(one, "", "socat", (1.0,)) for one in questions])) is None


def test_the_published_table_has_a_column_for_each_relay_that_was_measured():
    text = publish.block(document(), publish.ROOT)
    assert "![the lossless rate" in text
    assert "(packaging/manual/mcrelay-performance.svg)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("    ")]
    assert rows[0] == ["kernel"]
    assert ["nftables", "socat"] in rows
    assert ["1", "flow", "612+"] in rows
    assert ["10", "kpps,", "smooth", "2.00"] in rows
    assert ["10", "kpps,", "smooth", "?", "30.0"] in rows


@pytest.mark.parametrize("page", publish.PAGES, ids=lambda page: page.name)
def test_each_page_has_a_place_for_the_figures_and_keeps_the_rest(page):
    text = page.read_text()
    once = publish.replaced(text, "\nnew\n\n")
    assert publish.replaced(once, "\nother\n\n") == publish.replaced(text, "\nother\n\n")
    assert "\nnew\n" in once
    assert once.startswith(text.partition(publish.BEGIN)[0])
    assert once.endswith(text.partition(publish.END)[2])
    with pytest.raises(ValueError, match="figures"):
        publish.replaced("no mark", "text")


def test_memory_of_maps_counts_each_map_once(tmp_path, monkeypatch):
    descriptors = {
        "7/fdinfo/3": "pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t5\n",
        "7/fdinfo/4": "pos:\t0\nmemlock:\t8192\nprog_id:\t5\n",
        "7/fdinfo/5": "pos:\t0\nflags:\t02\n",
        "8/fdinfo/9": "pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t5\n",
    }
    for name, text in descriptors.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(usage, "PROC", tmp_path)
    assert usage.bpf_memory([7, 8]) == 12288
