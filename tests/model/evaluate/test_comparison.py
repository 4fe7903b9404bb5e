"""The comparison's figures are those of the results, its verdicts those of their intervals, and its words cannot break out of the page."""

import pytest

from model.contracts.evaluation import Result
from model.evaluate.report.comparison import ComparedModel, ComparisonInput, render_comparison, verdict
from model.evaluate.report.comparison_scores import standings
from model.train.config import load_train_config
from tests.support.html_page import Element, parse, rows, section
from tests.support.report_inputs import corpus, log_rows, model, recipe, result


def member(name: str, *results: Result, variant: str = "nano", overrides: dict | None = None, **fields) -> ComparedModel:
    config = load_train_config(variant, overrides or {}).model_dump(mode="json")
    manifest = model(variant=variant, train_config=config, train_seconds=fields.pop("seconds", 3600.0))
    return ComparedModel(
        **{
            "name": name, "model": manifest, "results": results, "log": log_rows(), "ranks": 4, "device": "gpu",
            "address": f"models:/sphinx-x-{name}/3", "aliases": ("candidate",), "gate_open": False, "gate_reason": "Too low.",
            **fields,
        }
    )  # fmt: skip


def drawn(*members: ComparedModel) -> Element:
    return parse(render_comparison(ComparisonInput(recipe(), corpus(), members, {"pipeline run": "https://k.example.org/1"})))


def kinds(*results: Result | None) -> list[str]:
    return [one.kind for one in standings(results)]


def test_a_score_within_noise_of_the_best_is_told_from_one_behind_it():
    assert kinds(result(score=0.7, half=0.02), result(score=0.69, half=0.02), result(score=0.6, half=0.02)) == [
        "best", "tied", "behind",
    ]  # fmt: skip
    # The distance is Newcombe's: 0.7 and 0.66 with halves of 0.02 are 0.04 ± 0.0283 apart.
    behind = standings([result(score=0.7, half=0.02), result(score=0.66, half=0.02)])[1]
    assert behind.gap is not None
    assert (behind.kind, round(behind.gap.low, 4), round(behind.gap.high, 4)) == ("behind", -0.0683, -0.0117)


def test_equal_scores_are_both_best_and_a_missing_one_is_none():
    assert kinds(result(score=0.7), None, result(score=0.7)) == ["best", "missing", "best"]
    assert kinds(None) == ["missing"]


@pytest.mark.parametrize("other", [{"benchmark_digest": "others"}, {"mode": "sphinx"}, {"metric": "recall"}])
def test_a_result_on_other_questions_or_by_another_scorer_is_not_ranked(other):
    assert kinds(result(score=0.5), result(score=0.9, **other)) == ["best", "other"]


def test_members_are_columns_benchmarks_rows_and_the_mean_stands_below():
    page = drawn(
        member("small", result("find", 0.5), result("read", 0.6)), member("large", result("find", 0.7), result("read", 0.61))
    )
    table = section(page, "scores").one("table")
    found = rows(table)
    assert [row["Benchmark"].split()[0] for row in found] == ["find", "read"]
    assert found[0]["small"] == "50.0 45.0 to 55.0 −20.0 points"
    assert found[0]["large"] == "70.0 65.0 to 75.0 ✓ best"
    assert found[1]["small"] == "60.0 55.0 to 65.0 within noise"
    # Two independent halves of 0.05: hypot(5, 5) / 2 = 3.5 points.
    assert [cell.text for cell in table.one("tfoot").all("td")][1:] == ["55.0 ± 3.5 −10.5 points", "65.5 ± 3.5 ✓ best"]


def test_every_row_draws_an_interval_and_a_mark_for_each_member():
    plot = section(drawn(member("a", result(score=0.5)), member("b", result(score=0.7))), "scores").one("svg", "scores")
    assert [(line.attributes["x1"], line.attributes["x2"]) for line in plot.all("line", "whisker")] == [
        ("45.00%", "55.00%"), ("65.00%", "75.00%"),
    ]  # fmt: skip
    assert [mark.attributes["x"] for mark in plot.all("svg", "mark")] == ["50.00%", "70.00%"]
    assert plot.one("title").text.startswith("find: a 50.0 %")


def test_a_score_that_chance_reaches_says_so():
    page = drawn(member("a", result(score=0.52, chance=0.5)), member("b", result(score=0.7, chance=0.5)))
    (row,) = rows(section(page, "scores").one("table"))
    assert row["a"].endswith("not above chance")
    assert "chance" not in row["b"]


def test_size_and_cost_say_what_they_count():
    page = drawn(
        member("tiny", result(), variant="tiny", seconds=7200.0),
        member("moe", result(), variant="moe", seconds=36000.0, ranks=64),
    )
    found = {row["What"]: (row["tiny"], row["moe"]) for row in rows(section(page, "costs").one("table"))}
    assert found["Size"] == ("tiny", "moe")
    assert found["Trained parameters language model and fusion"] == ("1.11 billion", "46.7 billion")
    assert found["Training time in steps, summed over restarts"] == ("2 h", "10 h")
    assert found["GPU-hours time in steps times those"] == ("8", "640")


def test_the_verdict_names_the_best_whom_noise_cannot_tell_from_it_and_who_is_cheaper():
    small, large = member("small", result(score=0.6), ranks=1), member("large", result(score=0.63), ranks=8)
    assert verdict([small, large]) == (
        "large has the highest mean score: 63.0\u202f% ± 5.0 (95 %). Within noise of it: small. small took 0.12 times its GPU-hours."
    )
    assert verdict([member("a", result(score=0.3)), member("b", result(score=0.9))]).endswith("No other is within noise of it.")
    assert verdict([member("a"), member("b", result())]) == "Not every member was judged, so they are not ranked."


def test_all_losses_are_one_picture_over_the_samples_seen():
    counted = [{**row, "samples_seen": 10 * row["step"]} for row in log_rows(20)]
    page = section(drawn(member("a", result(), log=counted), member("b", result(), log=[]), member("c", result())), "curves")
    assert len(page.all("figure")) == 1
    assert [len(page.all("path", name)) for name in ("m0", "m1", "m2")] == [2, 0, 2]
    assert [item.text for item in page.all("li")][1] == "b: no log"
    # b has no log; c's samples are spread over its steps: 50 of 150 steps are 800 of 2400 samples.
    assert "800" in page.one("figure").text


def test_losses_of_other_tokenizers_are_no_ranking():
    words = "so their losses are no ranking"
    assert words not in section(drawn(member("a", result()), member("b", result())), "curves").text
    assert (
        words in section(drawn(member("a", result(), variant="tiny"), member("b", result(), variant="intern2")), "curves").text
    )


def test_settings_are_listed_where_they_differ():
    page = drawn(member("a", result()), member("b", result(), overrides={"epochs": 3}))
    (row,) = rows(section(page, "settings").one("table"))
    assert (row["Setting"], row["b"]) == ("epochs", "3")
    same = section(drawn(member("a", result()), member("b", result())), "settings")
    assert same.text == "Settings All members were trained with the same settings."


def test_every_version_has_its_gate_and_its_pages():
    known = member("a", result(), pages={"version": "https://mlflow.example.org/a", "report": "javascript:alert(1)"})
    local = member("b", result(), gate_open=True, gate_reason="Better.", report_file="reports/b.html", aliases=("champion",))
    models = section(drawn(known, local), "models")
    found = {row["Model"]: row for row in rows(models.one("table"))}
    assert found["a"]["Gate"] == "✗ closed Too low."
    assert found["b"]["Gate"] == "✓ open Better."
    assert found["b"]["Registered as"] == "models:/sphinx-x-b/3 champion"
    addresses = [link.attributes["href"] for link in models.all("a")]
    assert addresses == ["https://mlflow.example.org/a", "reports/b.html", "https://k.example.org/1"]


def test_members_that_were_not_asked_or_not_everything_leave_a_whole_page():
    page = drawn(member("a", result("find"), result("read")), member("b", result("find")))
    table = section(page, "scores").one("table")
    assert rows(table)[1]["b"] == "not asked"
    assert table.one("tfoot").all("td")[-1].text == "not all asked"
    assert "No benchmark was run" in section(drawn(member("a"), member("b")), "scores").text


def test_a_family_of_eight_has_eight_marks_and_no_name_is_markup():
    page = drawn(*(member(f"m{n}", result(score=0.5 + n / 50), gate_reason="<b>&") for n in range(8)))
    plot = section(page, "scores").one("svg", "scores")
    assert len({mark.attributes["class"] for mark in plot.all("svg", "mark")}) == 8
    assert "<b>&" in section(page, "models").text


def test_the_page_asks_nobody_for_anything():
    text = render_comparison(ComparisonInput(recipe(), corpus(), [member("a", result())]))
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert "<link" not in text
