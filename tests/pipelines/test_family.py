"""A family run on this machine, by kfp.local and the real parts: one corpus, two models of one size, one page that compares them."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from model.contracts.family import Family, Member
from model.errors import SphinxError
from model.recipes import load_recipe
from pipelines.arguments import family_arguments
from pipelines.local import run_family, store_of
from pipelines.runs import EVENTS_FILE, REPORT_FILE, REPORTS_FOLDER, RunRecord, find_run, folder_of
from tests.support.html_page import parse, rows, section
from tests.support.small_world import OVERRIDES, write_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
"""Eighteen Python processes, torch in six of them: a minute on two idle cores, minutes on busy ones."""

FAMILY = Family(
    members={
        "short": Member(variant="nano", processes_per_node=1, overrides={**OVERRIDES, "epochs": 1}),
        "fast": Member(
            variant="nano", processes_per_node=1, overrides={**OVERRIDES, "epochs": 1, "optimizer": {"learning_rate": 1e-2}}
        ),
    }
)
BENCHMARKS = {"cups-held-out", "named-val"}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def ran(world) -> tuple[RunRecord, str]:
    """Run the family; its record and what was shown."""
    cups = {"name": "cups", "family": "coco_detection", "root": "raw/coco", "held_out_share": 0.3, "licence": "MIT"}
    talk = {"name": "talk", "family": "text_dialogue", "root": "raw/text", "licence": "MIT"}
    recipe, base = write_world(world, model_name="small-world", datasets=[cups, talk])
    shown = io.StringIO()
    workspace = world / "ws"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'mlflow.db'}")
        arguments = family_arguments(str(recipe), store_of(workspace), FAMILY, dict.fromkeys(FAMILY.members, base))
        found = load_recipe(str(recipe))
        record = run_family(workspace, found, list(FAMILY.members), arguments, Console(file=shown, width=200))
    return record, shown.getvalue()


def test_one_corpus_becomes_two_registered_models(world, ran):
    record, _ = ran
    assert record.state == "succeeded"
    assert [one.name for one in record.members] == ["short", "fast"]
    assert record.addresses == ["models:/small-world-short/1", "models:/small-world-fast/1"]
    assert all(set(one.scores) == BENCHMARKS for one in record.members)
    assert len({one.model_digest for one in record.members}) == 2
    assert len(list((world / "ws/store/corpora").iterdir())) == 1
    assert len(list((world / "ws/store/runs").iterdir())) == 2
    assert find_run(world / "ws") == record


def test_the_comparison_names_both_and_holds_what_each_scored(world, ran):
    record, _ = ran
    page = parse((folder_of(world / "ws", record.id) / REPORT_FILE).read_text())
    assert page.one("h1").text == "short, fast"
    scored = rows(section(page, "scores").one("table"))
    assert {row["Benchmark"].split()[0] for row in scored} == BENCHMARKS
    for row in scored:
        for one in record.members:
            assert row[one.name].startswith(f"{100 * one.scores[row['Benchmark'].split()[0]]:.1f}")
    differ = {row["Setting"]: (row["short"], row["fast"]) for row in rows(section(page, "settings").one("table"))}
    assert differ == {"optimizer.learning_rate": ("0.0025", "0.01")}
    assert len(section(page, "curves").all("path", "m0")) == 2  # as logged, and its average
    assert len(section(page, "curves").all("path", "m1")) == 2


def test_each_member_has_a_report_of_its_own_that_the_comparison_leads_to(world, ran):
    folder = folder_of(world / "ws", ran[0].id)
    page = parse((folder / REPORT_FILE).read_text())
    links = [link.attributes["href"] or "" for link in section(page, "models").all("a")]
    assert links == [f"{REPORTS_FOLDER}/short.html", f"{REPORTS_FOLDER}/fast.html"]
    for link, name in zip(links, ("small-world-short", "small-world-fast"), strict=True):
        assert parse((folder / link).read_text()).one("h1").text == name


def test_members_are_trained_one_after_the_other_and_shown_by_name(world, ran):
    record, shown = ran
    for words in ("member short", "train short", "evaluate fast", "register fast", "compare", "FINISHED"):
        assert words in shown
    assert "failed" not in shown
    lines = (folder_of(world / "ws", record.id) / EVENTS_FILE).read_text().splitlines()
    trained = [(one["item"], one["state"]) for one in map(json.loads, lines) if one["task"] == "train"]
    assert trained.index(("short", "done")) < trained.index(("fast", "running"))


def test_outputs_keep_to_what_the_real_backend_takes(world, ran):
    files = list(folder_of(world / "ws", ran[0].id).glob("kfp/**/executor_output.json"))
    # validate, 2 unify, merge, compare, finish; of each member itself, train, evaluate, report, register, and promote where its gate opened
    opened = sum(one.gate == "open" for one in ran[0].members)
    assert len(files) == 6 + 2 * 5 + opened
    for file in files:
        output = json.loads(file.read_text())
        for name, value in output.get("parameterValues", {}).items():
            assert value not in (None, []), name
        for name, listed in output.get("artifacts", {}).items():
            for artifact in listed["artifacts"]:
                assert name.endswith("metrics") or Path(artifact["uri"]).is_file(), f"{name} was never written"
                assert all(type(value) in (str, int, float) for value in artifact["metadata"].values()), name


def test_a_member_that_fails_is_named_and_the_others_are_finished_all_the_same(world, ran):
    base = str(world / "base")
    broken = Member(
        variant="nano", processes_per_node=1, overrides={**OVERRIDES, "packs": {**OVERRIDES["packs"], "tokens_per_pack": 8}}
    )
    family = Family(members={"broken": broken, "short": FAMILY.members["short"]})
    workspace = world / "ws"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'mlflow.db'}")
        recipe = str(world / "recipe.yaml")
        arguments = family_arguments(recipe, store_of(workspace), family, dict.fromkeys(family.members, base))
        with pytest.raises(SphinxError, match=r"^train broken: no sample of recipe small can be trained on"):
            run_family(workspace, load_recipe(recipe), list(family.members), arguments, Console(file=io.StringIO(), width=200))
    record = find_run(workspace)
    assert (record.state, record.members) == ("failed", ())
    lines = map(json.loads, (folder_of(workspace, record.id) / EVENTS_FILE).read_text().splitlines())
    ended = {(one["task"], one["item"]) for one in lines if one["state"] == "done"}
    assert ("register", "short") in ended  # found again: it was trained and judged before
    assert ("compare", "") not in ended
    assert ("finish", "") in ended
