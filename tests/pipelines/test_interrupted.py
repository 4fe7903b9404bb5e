"""A run that is stopped anywhere leaves no process behind, and run again it ends with the same model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.weights import read_model_manifest
from pipelines.runs import all_runs
from tests.support.small_world import write_world

pytestmark = [
    pytest.mark.slow(),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by /proc"),
]

ARRIVE_SECONDS = 400
"""Until the process that is to be killed exists: imports of torch and DeepSpeed on a busy machine."""
VANISH_SECONDS = 15
"""Until no process is left: none of them has anything to wait for."""
SETTINGS = ("epochs=40", "packs.tokens_per_pack=256", "packs.views_per_pack=10", "packs.batch_size=4", "checkpoint.every_steps=5",
            "watch.log_every_steps=1")  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    write_world(folder)
    return folder


def start(world: Path, workspace: Path, in_background: bool = False) -> subprocess.Popen:
    """`sphinx-x run`, as from a terminal or as a shell starts what ends in `&`, which then ignores Ctrl-C."""
    command = [sys.executable, "-m", "pipelines.cli", "run", str(world / "recipe.yaml"), "--base", str(world / "base")]
    command += ["--workspace", str(workspace), *(word for setting in SETTINGS for word in ("--set", setting))]
    scratch = workspace / "tmp"  # so that every process of the run has the workspace's name in its command line
    scratch.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"DS_ACCELERATOR": "cpu", "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if in_background else signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)


def processes(workspace: Path) -> dict[int, str]:
    """Living processes of a run by number, with their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            dead = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if str(workspace) in words and not dead:
            found[int(path.name)] = words
    return found


def logged_steps(workspace: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in workspace.glob("store/runs/*/log.jsonl"))


KINDS = {
    "the command line": "pipelines.cli run",
    "kfp's process": "pipelines.kfp_local",
    "a task": "kfp.dsl.executor_main",
    "torchrun": "components.train.elastic",
    "a rank": "-u -m components.train.worker",
}


def await_victim(run: subprocess.Popen, workspace: Path, kind: str, steps: int) -> int:
    """Number of a process of a kind, once training has logged that many steps."""
    deadline = time.monotonic() + ARRIVE_SECONDS
    while time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()
        # A shell stands before each task with the task's words among its own.
        victims = [pid for pid, words in processes(workspace).items() if KINDS[kind] in words and not words.startswith("sh ")]
        if victims and logged_steps(workspace) >= steps:
            return victims[0]
        time.sleep(0.05)
    raise AssertionError(f"{kind} never came: {processes(workspace)}")


def await_silence(workspace: Path) -> None:
    deadline = time.monotonic() + VANISH_SECONDS
    while (left := processes(workspace)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == {}


def finished_digest(world: Path, workspace: Path) -> str:
    run = start(world, workspace)
    said, complaint = run.communicate(timeout=1200)
    assert run.returncode == 0, said + complaint
    return read_model_manifest(all_runs(workspace)[0].model_uri).digest


@pytest.fixture(scope="module")
def undisturbed(world) -> str:
    return finished_digest(world, world / "undisturbed")


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_training_it_leaves_no_process_and_goes_on_to_the_same_model(world, undisturbed, tmp_path, kind):
    run = start(world, tmp_path)
    os.kill(await_victim(run, tmp_path, kind, steps=12), signal.SIGKILL)
    _, complaint = run.communicate(timeout=300)
    await_silence(tmp_path)
    if kind == "the command line":
        assert run.returncode == -signal.SIGKILL
    else:
        assert run.returncode == 2
        assert complaint.count("\n") == 1
        assert complaint.startswith("sphinx-x: ")
    assert finished_digest(world, tmp_path) == undisturbed


def test_killed_while_data_is_unified_it_goes_on(world, undisturbed, tmp_path):
    run = start(world, tmp_path)
    os.kill(await_victim(run, tmp_path, "a task", steps=0), signal.SIGKILL)
    run.communicate(timeout=300)
    await_silence(tmp_path)
    assert finished_digest(world, tmp_path) == undisturbed


@pytest.mark.parametrize("how", ["Ctrl-C", "sphinx-x stop"])
def test_stopping_says_how_to_go_on_and_frees_the_workspace(world, undisturbed, tmp_path, how):
    run = start(world, tmp_path, in_background=how == "sphinx-x stop")
    await_victim(run, tmp_path, "a rank", steps=8)
    if how == "Ctrl-C":
        run.send_signal(signal.SIGINT)
    else:
        subprocess.run([sys.executable, "-m", "pipelines.cli", "stop", "--workspace", str(tmp_path)], check=True)
    _, complaint = run.communicate(timeout=60)
    assert run.returncode == 130
    assert complaint == "sphinx-x: stopped; the same command goes on where it was.\n"
    await_silence(tmp_path)
    assert [record.state for record in all_runs(tmp_path)] == ["stopped"]
    assert finished_digest(world, tmp_path) == undisturbed
