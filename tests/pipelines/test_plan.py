"""`sphinx-x plan` foretells any run in seconds on a machine that has neither torch nor kfp, and says where its numbers come from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from tests.support.tiny import make_base, make_corpus

RECIPE = """
name: tiny
datasets:
  - {name: pictured, family: llava, root: raw/pictured, licence: CC-BY-4.0, held_out_share: 0.1}
  - {name: texts, family: text_dialogue, root: raw/texts, licence: MIT}
benchmarks:
  - {name: held, benchmark: pope, held_out_of: pictured}
"""
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "kfp", "mlflow", "transformers", "deepspeed", "kubernetes"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Absent())
import typer
from pipelines.commands.plan import plan
typer.run(plan)
"""


def plan(*arguments: str) -> dict:
    """The JSON of a plan that fits."""
    done = CliRunner().invoke(app, ["plan", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe and its raw files; the unified corpus lies in another workspace, `made`."""
    folder = tmp_path_factory.mktemp("plan")
    make_corpus(folder)
    make_base(folder / "base")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def test_a_cluster_is_planned_where_neither_torch_nor_kfp_is_installed() -> None:
    command = [sys.executable, "-c", BLOCKED, "--variant", "moe", "--nodes", "4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["workload"]["samples"] == pytest.approx(15_300_000, rel=0.01)
    assert told["workload"]["num_steps"] == pytest.approx(15_300_000 / 256, rel=0.01)
    assert told["machine"] == {
        "nodes": 4, "processes_per_node": 8, "memory_gb": 141.0, "kind": "gpu", "host_memory_gb": None,
    }  # fmt: skip
    assert told["workload"]["source"].startswith("assumed: 15,300,000 samples")
    assert any("MFU of 40%" in note and "not a measurement" in note for note in told["notes"])
    assert "32 ranks need --set packs.packs_multiple=32" in told["notes"]


def test_twice_the_gpus_take_half_the_hours() -> None:
    one, two = (plan("--variant", "tiny", "--nodes", nodes, "--samples", "2000000") for nodes in ("1", "2"))
    assert one["estimate"]["hours"] / two["estimate"]["hours"] == pytest.approx(2, rel=0.1)
    assert one["workload"]["tokens"] == pytest.approx(two["workload"]["tokens"], rel=0.01)


def test_assumptions_are_options() -> None:
    texts = plan("--variant", "tiny", "--samples", "100000", "--picture-share", "0", "--text-tokens", "400")
    assert texts["workload"]["real_views"] == 0
    assert texts["workload"]["tokens"] == pytest.approx(100_000 * 400, rel=0.05)
    fast = plan("--variant", "tiny", "--samples", "100000", "--mfu", "0.8", "--peak-tflops", "500")
    slow = plan("--variant", "tiny", "--samples", "100000", "--mfu", "0.2", "--peak-tflops", "500")
    assert slow["estimate"]["hours"] / fast["estimate"]["hours"] == pytest.approx(4)


def test_raw_files_are_looked_at_and_a_unified_corpus_is_taken_as_it_is(folder: Path) -> None:
    recipe, base = str(folder / "recipe.yaml"), str(folder / "base")
    raw = plan(recipe, "--variant", "nano", "--base", base, "--workspace", str(folder / "nowhere"))
    exact = plan(recipe, "--variant", "nano", "--base", base, "--workspace", str(folder))
    assert raw["workload"]["source"] == "foretold from a look at the raw files of 2 datasets"
    assert not raw["workload"]["exact"]
    assert exact["workload"]["exact"]
    assert exact["workload"]["source"].startswith("exact: corpus ")
    assert raw["workload"]["tokens"] == pytest.approx(exact["workload"]["tokens"], rel=0.2)
    assert exact["machine"]["kind"] == "cpu"
    guessed = plan(recipe, "--variant", "nano", "--workspace", str(folder / "nowhere"), "--samples", "5000")
    assert any("tokens are guessed" in note for note in guessed["notes"])
    assert guessed["workload"]["samples"] == 5000 * 8  # nano's preset shows an epoch eight times


def test_the_tables_show_what_counts() -> None:
    done = CliRunner().invoke(app, ["plan", "--variant", "intern2", "--samples", "1000000"])
    assert done.exit_code == 0, done.output
    for words in (
        "intern2 on 8 GPUs",
        "steps",
        "pack fill",
        "GB of memory per GPU",
        "optimizer",
        "hours",
        "It fits into 141 GB",
    ):
        assert words in done.output


def failure(*arguments: str) -> str:
    """What a plan says that ends with exit code 2, on one line."""
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return " ".join((done.output + done.stderr).split())


def test_a_run_that_does_not_fit_ends_with_the_remedy_and_exit_code_2() -> None:
    told = " ".join(
        str(failure("--variant", "plus", "--gpus-per-node", "1", "--gpu-memory-gb", "24", "--samples", "9000")).split()
    )
    assert "sphinx-x: plus needs about" in told
    assert "and one has 24 GB; use 64 nodes" in told


def test_wrong_input_is_one_sentence() -> None:
    assert "there is no variant 'huge'" in failure("--variant", "huge")
    assert "write key=value" in failure("--set", "epochs")
    assert "no annotation file" in failure("pipelines/recipes/own-data.yaml", "--variant", "nano")
