"""Curves, axes and written numbers: what is drawn is what was logged."""

import math

import pytest

from model.evaluate.report import numbers, render_report
from model.evaluate.report.figures import Line, Scale, fitting_scale, linear_ticks, log_ticks, smoothed, thinned
from model.evaluate.report.training import ordered_log, series
from tests.support import report_inputs as make
from tests.support.html_page import parse, section


def curves(log):
    return section(parse(render_report(make.report_input(log=log))), "curves")


def chart(log, title):
    (found,) = [figure for figure in curves(log).all("figure") if figure.one("figcaption").one("strong").text == title]
    return found


def test_every_logged_quantity_has_its_figure_with_its_last_mean():
    section_ = curves(make.log_rows(100))
    titles = [figure.one("figcaption").one("strong").text for figure in section_.all("figure")]
    assert titles == [
        "Loss per supervised token (nats)", "Learning rate", "Throughput (samples per second)", "Gradient norm", "scenes",
    ]  # fmt: skip
    assert "1.08 at the end (mean of the last 5 values)" in section_.text  # 1 + 4 x (0 + 1 + 2 + 3 + 4) / 5 / 100
    assert "100 logged rows up to step 100" in section_.text


def test_a_curve_runs_from_its_first_to_its_last_value():
    raw = chart(make.log_rows(50), "Loss per supervised token (nats)").one("path", "raw").attributes["d"] or ""
    scale = Scale(1 / 1.1, 4.92 * 1.1, log=True)
    assert raw.startswith(f"M20.0 {1000 * (1 - scale(4.92)):.1f}")
    assert raw.endswith(f"L1000.0 {1000 * (1 - scale(1.0)):.1f}")


def test_a_step_that_was_done_again_after_a_restart_counts_once():
    log = [{"step": step, "loss": 9.0} for step in (1, 2, 3, 4)] + [{"step": step, "loss": 1.0} for step in (3, 4, 5)]
    assert series(ordered_log(log), "loss") == [(1, 9.0), (2, 9.0), (3, 1.0), (4, 1.0), (5, 1.0)]


@pytest.mark.parametrize("broken", [None, math.nan, math.inf])
def test_a_loss_that_is_no_number_leaves_a_gap_and_is_counted(broken):
    log = make.log_rows(20)
    log[9]["loss"] = broken
    figure = chart(log, "Loss per supervised token (nats)")
    assert "1 value not finite" in figure.text
    assert (figure.one("path", "raw").attributes["d"] or "").count("M") == 2


def test_a_log_of_one_row_and_one_without_a_loss_can_be_drawn():
    assert "1 logged row up to step 1" in curves(make.log_rows(1)).text
    assert "Learning rate" in curves([{"step": 5, "learning_rate": 0.1}]).text


def test_training_facts_say_over_what_they_are_means():
    text = section(parse(render_report(make.report_input(log=make.log_rows(50)))), "training").text
    assert "Pack fill 90.0 % tokens against the budget, mean over 50 logged rows" in text
    assert "Skipped views 25.0 % of 2,000 in the logged steps" in text
    assert "Samples seen 2,400 30 per second" in text
    assert "Memory at its peak 1.25 GB" in text


def test_a_mean_over_the_steps_weighs_a_row_by_the_steps_it_covers():
    log = [{"step": 30, "window_steps": 30, "pack_fill": 1.0}, {"step": 40, "window_steps": 10, "pack_fill": 0.6}]
    assert "Pack fill 90.0 %" in section(parse(render_report(make.report_input(log=log))), "training").text


def test_settings_that_differ_from_the_defaults_are_listed_and_others_counted():
    text = section(parse(render_report(make.report_input())), "training").text
    assert "optimizer.learning_rate 0.0025 2e−5" in text
    assert "optimizer.beta1" not in text
    assert "checkpoint.every_steps" not in text  # decides nothing about the result


def test_thinning_keeps_a_spike():
    points = [(float(x), 1.0) for x in range(10_000)]
    points[5_432] = (5_432.0, 99.0)
    kept = thinned(points, 400)
    assert len(kept) <= 401
    assert (5_432.0, 99.0) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def test_smoothing_does_not_lag():
    ramp = [(float(x), 2.0 * x) for x in range(100)]
    assert [y for _, y in smoothed(ramp, 0.1)[10:-10]] == pytest.approx([y for _, y in ramp[10:-10]])


def test_smoothing_does_not_end_on_the_last_value_alone():
    noisy = [(float(x), 1.0) for x in range(99)] + [(99.0, 50.0)]
    assert smoothed(noisy, 0.2)[-1][1] < 15


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 730, 5, [0, 200, 400, 600]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 3, 5, [3]),
        (0, 0.003, 4, [0, 0.001, 0.002, 0.003]),
    ],
)
def test_ticks_are_round_and_few(low, high, most, ticks):
    assert linear_ticks(low, high, most) == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_axis_are_round_and_few():
    assert log_ticks(0.3, 6, 6) == pytest.approx([0.5, 1, 2, 5])
    assert log_ticks(1e-6, 1e6, 4) == pytest.approx([1e-6, 1e-2, 1e2, 1e6])


def test_an_axis_is_logarithmic_only_where_values_are_positive_and_spread():
    assert fitting_scale([Line([(0, 8.0), (1, 1.0)], "raw")], from_zero=True, log=True).log
    assert not fitting_scale([Line([(0, 8.0), (1, 0.0)], "raw")], from_zero=True, log=True).log
    assert not fitting_scale([Line([(0, 2.0), (1, 1.0)], "raw")], from_zero=True, log=True).log


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.percent(0.8336), "83.4 %"),
        (numbers.percent(0), "0.0 %"),
        (numbers.interval(0.801, 0.863), "80.1 to 86.3 %"),
        (numbers.points(-0.0123), "−1.2"),
        (numbers.points(0.0123), "+1.2"),
        (numbers.points(-0.0001), "0.0"),
        (numbers.count(12_345), "12,345"),
        (numbers.count(11_240_000), "11.2 million"),
        (numbers.plural(1, "box", "boxes"), "1 box"),
        (numbers.plural(2, "box", "boxes"), "2 boxes"),
        (numbers.short(2e-5), "2e−5"),
        (numbers.short(30_500), "30.5k"),
        (numbers.short(math.nan), "not a number"),
        (numbers.duration(48.4), "48 s"),
        (numbers.duration(312), "5 min 12 s"),
        (numbers.duration(3 * 3600 + 20 * 60), "3 h 20 min"),
        (numbers.duration(25 * 3600), "1 day 1 h"),
        (numbers.size(9_400_000), "9.4 MB"),
    ],
)
def test_numbers_are_written_as_a_person_reads_them(written, expected):
    assert written.replace("\u202f", " ") == expected
