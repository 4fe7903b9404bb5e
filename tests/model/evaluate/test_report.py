"""The page: safe to open, complete, and every number with what it counts."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluate.report import render_report
from model.evaluate.report.markup import escape, tag
from model.evaluate.statistics import Difference
from tests.support import report_inputs as make
from tests.support.html_page import parse, rows, section

SECTIONS = ("benchmarks", "pictures", "curves", "training", "data", "provenance")
ATTACK = "</style></title></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;"


def drawn(**fields):
    return parse(render_report(make.report_input(**fields)))


def test_the_page_needs_nothing_but_itself():
    text = render_report(make.report_input())
    page = parse(text)
    for element in page.all():
        assert element.name not in {"script", "link", "iframe", "object", "embed", "base", "form", "img"}
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "xlink:href"} and element.name != "a":
                assert value is not None
                assert value.startswith("data:image/jpeg;base64,")
    assert [link.attributes["href"] for link in page.all("a")] == ["https://mlflow.example.org/runs/1"]
    assert not re.search(r"@import|url\(|expression\(", page.one("style").text)


def test_the_page_forbids_scripts_and_requests_by_itself():
    policies = [meta for meta in drawn().all("meta") if meta.attributes.get("http-equiv") == "Content-Security-Policy"]
    directives = dict(directive.split(" ", 1) for directive in (policies[0].attributes["content"] or "").split("; "))
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("style-src") == "'unsafe-inline'"
    assert directives.pop("img-src") == "data:"
    assert set(directives.values()) == {"'none'"}


def test_every_section_is_there_and_named_by_its_heading():
    page = drawn()
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert tuple(one.attributes["id"] for one in page.all("section")) == SECTIONS
    assert all(one.attributes["aria-labelledby"] in ids for one in page.all("section"))


def test_equal_inputs_give_the_same_page():
    assert render_report(make.report_input()) == render_report(make.report_input())


def hostile_input():
    """Every text that comes from a model, a raw file or a user tries to leave its place."""
    attack = make.dataset(name=ATTACK, family=ATTACK, licence=ATTACK, tasks={ATTACK: 5}, rejects={ATTACK: 2})
    words = {"question": ATTACK, "answer": ATTACK, "expected": (ATTACK, "x"), "group": ATTACK, "question_id": ATTACK}
    boxes = {"boxes": ((0.1, 0.1, 0.2, 0.2),), "labels": (ATTACK,)}
    judged = make.result(
        name=ATTACK, benchmark=ATTACK, metric=ATTACK, device=ATTACK, groups={ATTACK: 0.5, "b": 0.5},
        further_metrics={ATTACK: 1.0}, rejects={ATTACK: 1}, benchmark_digest=ATTACK,
    )  # fmt: skip
    config = {"variant": "nano", ATTACK: ATTACK}
    bases = ({"name": ATTACK, "uri": ATTACK, "digest": ATTACK, "licence": ATTACK},)
    return make.report_input(
        corpus=make.corpus(attack),
        model=make.model(variant=ATTACK, licences={ATTACK: ATTACK}, bases=bases, train_config=config, digest=ATTACK),
        results=[judged],
        champion=[judged],
        decision=make.decision(reason=ATTACK, version=ATTACK),
        log=[{**row, f"loss/dataset/{ATTACK}": 1.0, f"loss/task/{ATTACK}": 1.0} for row in make.log_rows()],
        shown=[make.shown(benchmark=ATTACK, **words, **boxes)],
        links={ATTACK: f"https://example.org/{ATTACK}", "b": ATTACK},
        registered_name=ATTACK,
    )


def test_words_of_models_and_files_are_shown_and_never_run():
    plain = {element.name for element in drawn().all()}
    page = parse(render_report(hostile_input()))
    assert {element.name for element in page.all()} - plain <= {"path", "title", "ul", "li", "td", "wbr"}
    assert not [name for element in page.all() for name in element.attributes if name.startswith("on") or name == "src"]
    for anchor in SECTIONS:
        assert "<script>alert(1)</script>" in section(page, anchor).text
    assert page.one("h1").text == ATTACK


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "s3://bucket/model", " https://x"])
def test_an_address_that_is_no_web_page_is_not_a_link(address):
    page = drawn(links={"model": address})
    assert page.all("a") == []
    assert address.strip() in section(page, "provenance").text


@given(st.text())
def test_any_text_survives_escaping_and_can_be_written(text):
    element = parse(tag("p", text, title=text)).one("p")
    shown = "".join(child for child in element.children if isinstance(child, str))
    allowed = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert (shown, element.attributes["title"]) == (allowed, allowed)
    escape(text).encode("utf-8")


def test_a_lone_surrogate_in_an_answer_can_be_written():
    render_report(make.report_input(shown=[make.shown(answer="a\ud800b")])).encode("utf-8")


def test_a_score_comes_with_interval_chance_questions_and_unreadable_answers():
    judged = make.result(score=0.6, half=0.05, chance=0.25, questions=400, parse_failures=8)
    (row,) = rows(section(drawn(results=[judged]), "benchmarks").all("table")[0])
    assert row["Benchmark"].startswith("find accuracy at IoU 0.5; refcoco, official mode")
    assert row["Score"] == "60.0 % 55.0 to 65.0 %"
    assert row["Above chance"] == "+35.0 chance 25.0 %"
    assert row["Questions"] == "400"
    assert row["Unreadable"] == "8 2.0 %"
    assert row["Gate"] == "✓ passed"


def test_the_plot_puts_score_interval_and_chance_where_they_belong():
    judged, before = make.result(score=0.6, half=0.05, chance=0.25), make.result(score=0.4, half=0.1)
    table = section(drawn(results=[judged], champion=[before]), "benchmarks").all("table")[0]
    plot = table.all("svg", "scores")[0]
    assert plot.one("circle").attributes["cx"] == "60.00%"
    assert plot.one("line", "chance").attributes["x1"] == "25.00%"
    champion, candidate = ([line.attributes[end] for end in ("x1", "x2")] for line in plot.all("line", "whisker"))
    assert (candidate, champion) == (["55.00%", "65.00%"], ["30.00%", "50.00%"])
    assert plot.one("svg", "diamond").attributes["x"] == "40.00%"


@pytest.mark.parametrize(
    ("before", "words"),
    [(0.45, "+15.0 +7.9 to +22.1 better"), (0.57, "+3.0 −4.1 to +10.1 within noise"), (0.75, "−15.0 −22.1 to −7.9 worse")],
)
def test_a_difference_to_the_champion_says_whether_it_exceeds_its_interval(before, words):
    page = drawn(results=[make.result(score=0.6, half=0.05)], champion=[make.result(score=before, half=0.05)])
    (row,) = rows(section(page, "benchmarks").all("table")[0])
    assert row["Against champion"] == words


def test_a_paired_difference_is_taken_where_it_is_known():
    paired = {"find": Difference(questions=400, mean=0.03, low=0.01, high=0.05)}
    page = drawn(champion=[make.result(score=0.57)], paired=paired)
    (row,) = rows(section(page, "benchmarks").all("table")[0])
    assert row["Against champion"] == "+3.0 +1.0 to +5.0 better"
    assert "question by question" in section(page, "benchmarks").text


@pytest.mark.parametrize("change", [{"benchmark_digest": "other questions"}, {"mode": "sphinx"}, {"metric": "another"}])
def test_results_on_other_questions_or_scored_otherwise_are_not_compared(change):
    page = drawn(champion=[make.result(score=0.1, **change)], decision=make.decision(version="3"))
    (row,) = rows(section(page, "benchmarks").all("table")[0])
    assert row["Against champion"] == "– no result on the same questions"
    assert "champion version 3 has no result on the same questions" in page.one("header").text


def test_without_a_champion_nothing_is_compared_and_the_page_says_so():
    page = drawn(champion=None)
    (row,) = rows(section(page, "benchmarks").all("table")[0])
    assert "Against champion" not in row
    assert "no champion yet" in page.one("header").text


def test_the_headline_gives_the_verdict_and_means_over_benchmarks():
    results = [make.result("find", 0.6, 0.03), make.result("read", 0.4, 0.04, chance=0.5)]
    header = (
        drawn(results=results, decision=make.decision(promote=False, reason="Not promoted: find is low.")).one("header").text
    )
    assert "✗ Gate closed Not promoted: find is low." in header
    assert "50.0 % ± 2.5 (95 %), 2 benchmarks, 800 questions" in header  # half of hypot(3, 4)
    assert "Above chance 1 of 2" in header
    assert "2,400 samples 4.8 million tokens in 1 min 20 s" in header


def test_a_closed_gate_shows_its_reasons_unfolded():
    folded = section(drawn(decision=make.decision(promote=False)), "benchmarks").all("details")[-1]
    assert "open" in folded.attributes
    assert rows(folded.one("table"))[0]["Gate"] == "✗ failed"


def test_groups_come_with_interval_chance_and_questions():
    judged = make.result(
        groups={"wide": 0.5, "tall": 0.75}, group_questions={"wide": 100, "tall": 300}, group_chance={"wide": 0.2}
    )
    folded = section(drawn(results=[judged]), "benchmarks").all("details")[0]
    best, worst = rows(folded.one("table"))
    assert best["Group"] == "tall"
    assert worst["Score"] == "50.0 % 40.4 to 59.6 %"  # Wilson for 50 of 100
    assert (worst["Chance"], worst["Questions"]) == ("20.0 %", "100")


def test_the_data_table_adds_up():
    table = section(drawn(), "data").all("table")[0]
    (row,) = rows(table)
    assert row == {
        "Dataset": "scenes coco_detection", "Share of an epoch": "100.0 % scenes: 100.0 % of an epoch", "Samples": "1,200",
        "Passes": "× 2", "Turns": "2,500", "Pictures": "1,100", "Held out": "130", "Left out": "21", "Licence": "CC-BY-4.0",
    }  # fmt: skip
    assert "2,400 samples" in table.one("tfoot").text
    assert "3 more samples left the corpus" in section(drawn(), "data").text
    reasons = rows(section(drawn(), "data").all("table")[2])
    assert reasons[0] == {"Reason": "crowd", "Number": "17", "Where": "scenes 17"}


@pytest.mark.parametrize(
    ("fields", "anchor", "words"),
    [
        ({"log": []}, "curves", "The run's log was not found, so there are no curves to draw."),
        ({"shown": []}, "pictures", "No picture of an asked question was saved, so none is shown."),
        ({"results": []}, "benchmarks", "No benchmark was run, so nothing is known of this model's quality."),
        ({"model": make.model(bases=())}, "provenance", "No base weights are recorded."),
    ],
)
def test_a_section_without_data_says_so_in_one_sentence(fields, anchor, words):
    assert words in section(drawn(**fields), anchor).text


def test_the_model_is_loaded_by_the_alias_that_the_gate_gives():
    assert "models:/sphinx-x-nano@champion" in section(drawn(), "provenance").text
    kept_back = drawn(decision=make.decision(promote=False), registered_name="my-model")
    assert "models:/my-model@candidate" in section(kept_back, "provenance").text


def test_all_digests_are_on_the_page():
    shown = section(drawn(), "provenance").text
    for digest in (
        "e" * 64,
        "1" * 64,
        "c" * 64,
        "2" * 64,
        make.recipe().content_digest(),
        "b" * 12,
        "questions of find",
        "3" * 64,
    ):
        assert digest in shown


def test_the_page_is_drawn_without_torch_and_without_a_picture_library():
    program = (
        "import sys\n"
        "for name in ('torch', 'PIL', 'mlflow', 'kfp', 'numpy'): sys.modules[name] = None\n"
        "import model.evaluate.report, model.card\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_enough_contrast_in_every_scheme(scheme):
    schemes = re.findall(r":root \{(.*?)\}", drawn().one("style").text)
    colours = dict(re.findall(r"--(\w+): (#\w{6}|#fff|#000);", schemes[scheme]))
    colours = {name: "#" + 2 * colour[1:] if len(colour) == 4 else colour for name, colour in colours.items()}
    paper = luminance(colours["paper"])
    for name in ("ink", "muted", "model", "champion", "good", "bad"):
        light, dark = sorted((luminance(colours[name]), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name
