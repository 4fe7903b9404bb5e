"""The whole DAG on this machine, by kfp.local and the real parts: a small recipe to a registered model."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from model.errors import SphinxError
from model.recipes import load_recipe
from pipelines.arguments import local_arguments
from pipelines.local import run_pipeline, store_of
from pipelines.runs import EVENTS_FILE, REPORT_FILE, RunRecord, all_runs, find_run, folder_of, task_outputs
from tests.support.small_world import OVERRIDES, write_recipe, write_world

pytestmark = pytest.mark.timeout(900)
"""A dozen Python processes, torch in five of them: half a minute on two idle cores, minutes on busy ones."""


def run(recipe: Path, base: str, workspace: Path) -> tuple[RunRecord, str]:
    """Run the pipeline; its record and what was shown."""
    shown = io.StringIO()
    arguments = local_arguments(str(recipe), store_of(workspace), base, "nano", OVERRIDES, processes=2)
    record = run_pipeline(workspace, load_recipe(str(recipe)), arguments, Console(file=shown, width=200))
    return record, shown.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def mlflow_in_workspace():
    """The tests' own environment must not lead to somebody's server, and a run leaves no address behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("DS_ACCELERATOR", "cpu")
        yield patch


@pytest.fixture(scope="module")
def first(world, mlflow_in_workspace) -> tuple[RunRecord, str]:
    recipe, base = write_world(world, model_name="small-world")
    mlflow_in_workspace.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world / 'ws' / 'mlflow.db'}")
    return run(recipe, base, world / "ws")


def test_a_recipe_goes_through_to_a_champion_that_answers_to_its_address(world, first):
    from components.shared.registry import resolve
    from model.weights import read_model_manifest

    record, _ = first
    assert (record.state, record.gate, record.version) == ("succeeded", "open", "1")
    assert set(record.scores) == {"cups-held-out", "named-val"}
    assert resolve("models:/small-world@champion").version == "1"
    assert resolve("models:/small-world@champion").tags["sphinx_x.model_digest"] == read_model_manifest(record.model_uri).digest
    page = (folder_of(world / "ws", record.id) / REPORT_FILE).read_text()
    assert "<html" in page
    assert "cups-held-out" in page


def test_what_was_shown_names_every_task_and_what_came_of_it(first):
    _, shown = first
    for words in (
        "unify cups",
        "9 samples",
        "merge",
        "train",
        "evaluate named-val",
        "report",
        "register",
        "promote",
        "FINISHED",
    ):
        assert words in shown
    assert "failed" not in shown


def test_outputs_keep_to_what_the_real_backend_takes(world, first):
    folder = folder_of(world / "ws", first[0].id)
    files = list(folder.glob("kfp/**/executor_output.json"))
    assert len(files) == 13  # validate, 3 unify, merge, prepare, train, 2 evaluate, report, register, promote, finish
    for file in files:
        output: dict[str, Any] = json.loads(file.read_text())
        for name, value in output.get("parameterValues", {}).items():
            assert value is not None, name
            assert value != [], name  # an empty loop that is collected kills the backend's driver
        for name, listed in output.get("artifacts", {}).items():
            for artifact in listed["artifacts"]:
                assert artifact["uri"].startswith(str(file.parent) + "/"), "the launcher refuses a place outside the run"
                assert name.endswith("metrics") or Path(artifact["uri"]).is_file(), f"{name} was never written"
                # MLMD fails a task over None, turns a bool into 1 and a nested value into a struct.
                for key, value in artifact["metadata"].items():
                    assert type(value) in (str, int, float), f"{name}.{key}"


def test_manifests_travel_and_weights_stay(world, first):
    folder = folder_of(world / "ws", first[0].id)
    sizes = {path: path.stat().st_size for path in (folder / "kfp").rglob("*") if path.is_file() and path.name != "page"}
    assert max(sizes.values()) < 100_000


def test_a_second_run_changes_nothing_and_recognises_every_finished_step(world, first):
    store = world / "ws" / "store"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    record, shown = run(world / "recipe.yaml", str(world / "base"), world / "ws")
    assert (record.state, record.version, record.scores) == ("succeeded", "1", first[0].scores)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before
    assert "finished before" in shown
    assert [one.id for one in all_runs(world / "ws")] == [record.id, first[0].id]
    assert find_run(world / "ws", first[0].id) == first[0]


def test_a_failing_task_is_one_sentence_and_the_exit_handler_runs(tmp_path, world, first):
    recipe = write_recipe(tmp_path)
    (tmp_path / "raw/coco/annotations/instances_train.json").write_text("{")
    with pytest.raises(SphinxError, match=r"^unify cups: .*instances_train\.json") as caught:
        run(recipe, str(world / "base"), tmp_path / "ws")
    assert "\n" not in str(caught.value)
    (record,) = all_runs(tmp_path / "ws")
    assert (record.state, record.reason) == ("failed", str(caught.value))
    events = [json.loads(line) for line in (folder_of(tmp_path / "ws", record.id) / EVENTS_FILE).read_text().splitlines()]
    assert ("finish", "done") in {(event["task"], event["state"]) for event in events}
    assert not {"merge", "train"} & {event["task"] for event in events}
    assert not list((tmp_path / "ws/store").glob("corpora/*"))
    assert dict(task_outputs(folder_of(tmp_path / "ws", record.id)))["finish"] == {"Output": "FAILED"}
