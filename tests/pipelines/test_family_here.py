"""A family on the command line: what is made of its text, what is shown while it runs, and what is refused at once."""

import io
import json
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from model.errors import ConfigError
from model.families import family_from_text
from pipelines.arguments import family_arguments, local_family
from pipelines.cli import app
from pipelines.progress import Board, LineReader, family_lines
from tests.support.small_world import write_recipe

TEXT = "calm: {variant: nano, processes_per_node: 1}\nnano:\n"


@pytest.fixture
def board(tmp_path):
    """A board that draws for a terminal."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    return Board(console, family_lines(["cells"], ["a", "b"]), LineReader(tmp_path / "events"))


def drawn(board: Board) -> list[str]:
    with board.console.capture() as capture:
        board.console.print(board)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_a_family_is_a_text_or_a_file_and_takes_this_machines_processes(tmp_path):
    (tmp_path / "family.yaml").write_text(TEXT)
    for given in (TEXT, str(tmp_path / "family.yaml")):
        members = local_family(given, 2).members
        assert {name: one.processes_per_node for name, one in members.items()} == {"calm": 1, "nano": 2}


def test_several_machines_are_not_to_be_had_here():
    with pytest.raises(ConfigError, match="member nano: 2 nodes are more than this machine"):
        local_family("nano: {nodes: 2}", 2)


def test_the_pipeline_is_given_absolute_places_and_the_whole_family(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = family_arguments("recipe.yaml", "store", local_family(TEXT, 2), {"calm": "base", "nano": "base"})
    assert arguments["data_store_uri"] == str(tmp_path / "store")
    members = family_from_text(str(arguments["train_family"])).members
    assert {(one.base_uri, one.processes_per_node) for one in members.values()} == {
        (str(tmp_path / "base"), 1), (str(tmp_path / "base"), 2),
    }  # fmt: skip


def test_the_display_has_a_line_a_task_of_each_member(board):
    of_member = ("member", "train", "evaluate", "report", "register", "promote")
    assert drawn(board) == [
        "· validate", "· unify cells", "· merge",
        *(f"· {task} {name}" for name in ("a", "b") for task in of_member),
        "· compare", "· finish",
    ]  # fmt: skip


def test_every_training_has_a_bar_of_its_own(board, tmp_path):
    def write(path, *rows):
        with open(path, "a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    for name in ("a", "b"):
        log = tmp_path / f"{name}.jsonl"
        write(tmp_path / "events", {"task": "train", "item": name, "state": "running", "time": 1.0, "log": str(log)})
        write(log, {"step": 5, "steps": 10, "loss": 2.0})
    board.update()
    bars = [line for line in drawn(board) if "step" in line]
    assert [line[line.index("step") - 4 :] for line in bars] == ["a · step 5/10 · loss 2.000", "b · step 5/10 · loss 2.000"]
    write(tmp_path / "events", {"task": "train", "item": "a", "state": "done", "time": 9.0})
    board.update()
    assert len([line for line in drawn(board) if "step" in line]) == 1


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("{slow: {variant: nano, overrides: {epoch: 1}}}", "member slow: .*unknown field 'epoch'"),
        ("{nano: {nodes: 4}}", "4 nodes are more than this machine"),
        ("{giant: {}}", "member giant: there is no variant 'giant'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(tmp_path, monkeypatch, family, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_recipe(tmp_path)
    ended = CliRunner().invoke(app, ["family", "recipe.yaml", "--family", family])
    assert ended.exit_code == 2
    assert re.search(words, " ".join(ended.stderr.split()))
    assert not (tmp_path / ".sphinx-x/store").exists()


def test_what_a_cluster_is_handed_are_parameters_of_the_compiled_pipeline(monkeypatch):
    from pipelines.cluster.config import check_no_templates
    from pipelines.cluster.sync import check_parameters
    from pipelines.commands import cluster_run
    from tests.pipelines.test_compile import PIPELINES

    handed = {}
    monkeypatch.setattr(
        cluster_run,
        "run_on_cluster",
        lambda address, recipe, store, given, wait, console, what, pipeline: handed.update(given, what=what, pipeline=pipeline),
    )
    family = "{tiny: {}, calm: {variant: intern2, nodes: 2, overrides: {optimizer: {learning_rate: 1.0e-5}}}}"
    ended = CliRunner().invoke(app, ["family", "s3://b/r.yaml", "--cluster", "--family", family, "--no-promote"])
    assert ended.exit_code == 0, ended.output
    assert (handed.pop("what"), handed.pop("pipeline")) == ("tiny, calm", "sphinx-x-family")
    wanted = {"data_recipe_uri": "s3://b/r.yaml"} | {name: value for name, value in handed.items() if value}
    check_parameters("the pipeline", PIPELINES["family"].parameters, wanted)
    check_no_templates(wanted)
    assert family_from_text(wanted["train_family"]) == family_from_text(family)
