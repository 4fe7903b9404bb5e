"""The commands for a cluster where there is none, and their local halves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from components.shared.lease import workspace_lease
from pipelines.cli import app
from pipelines.runs import LOG_FILE, folder_of, new_run
from tests.pipelines.cluster.deployments import NIGHTLY, OPS, TRAIN

NAMES = ("sync", "logs", "stop", "doctor")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command where no cluster is known."""
    monkeypatch.chdir(tmp_path)
    for name in ("KFP_ENDPOINT", "KFP_NAMESPACE", "KFP_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture
def config(tmp_path) -> Path:
    fields = {"release": "sphinx-x", "namespace": "ml", "images": {"ops": OPS, "train": TRAIN}, "schedules": [NIGHTLY]}
    fields["kubeflow"] = {"endpoint": "http://127.0.0.1:9", "wait_seconds": 0}
    path = tmp_path / "sync.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_what_it_does_with_an_example(command, name):
    said = command(name, "--help").output
    assert "Examples:" in said
    assert f"sphinx-x {name}" in said


@pytest.mark.parametrize("verb", ["add", "list", "pause", "resume", "rm"])
def test_every_schedule_command_has_an_example(command, verb):
    said = command("schedule", verb, "--help").output
    assert f"sphinx-x schedule {verb}" in said


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "--cluster"),
        ("logs", "--cluster", "abc"),
        ("stop", "--cluster", "abc"),
        ("schedule", "list"),
        ("run", "s3://b/r.yaml", "--cluster"),
    ],
)
def test_a_kubeflow_that_does_not_answer_is_one_sentence(command, words):
    ended = command(*words, "--endpoint", "http://127.0.0.1:9")
    assert ended.exit_code == 2
    assert ended.output.startswith("sphinx-x: Kubeflow Pipelines does not answer at http://127.0.0.1:9 (")
    assert ended.output.count("\n") == 1


@pytest.mark.parametrize("option", [[], ["--check"], ["--remove"]])
def test_sync_without_an_answer_is_one_sentence(command, config, option):
    ended = command("sync", "--config", config, *option)
    assert ended.exit_code == 2
    assert "does not answer at http://127.0.0.1:9" in ended.output


def test_sync_renders_what_it_would_upload_and_asks_nobody(command, config, tmp_path):
    ended = command("sync", "--config", config, "--render", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    text = (tmp_path / "out" / "sphinx-x-train.yaml").read_text()
    assert OPS in text
    assert "registry.invalid" not in text


def test_nothing_to_stop_and_no_log_are_sentences(command, tmp_path):
    ended = command("stop")
    assert (ended.exit_code, "nothing runs in" in ended.output) == (2, True)
    ended = command("logs")
    assert (ended.exit_code, "there is no run yet" in ended.output) == (2, True)


def test_logs_of_a_run_here(command, tmp_path):
    workspace = tmp_path / ".sphinx-x"
    record = new_run(workspace, "mine", "nano", {})
    (folder_of(workspace, record.id) / LOG_FILE).write_text("first\nsecond\n")
    assert command("logs", record.id).output == "first\nsecond\n"


def test_stop_interrupts_the_run_that_holds_the_workspace(command, tmp_path):
    workspace = tmp_path / ".sphinx-x"
    code = (
        "import signal, sys, time\nfrom pathlib import Path\nfrom components.shared.lease import workspace_lease\n"
        "from pipelines.runs import new_run\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as for what a shell starts in the background
        "with workspace_lease(Path(sys.argv[1]), 'mine'):\n    new_run(Path(sys.argv[1]), 'mine', 'nano', {})\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[3])
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        ended = command("stop")
        assert ended.exit_code == 0, ended.output
        assert "is being stopped" in ended.output
        assert holder.wait(20) in (-signal.SIGINT, 130, 1)
    finally:
        holder.kill()
        holder.wait()
    time.sleep(0.1)
    with workspace_lease(workspace, "next"):
        pass


def test_a_run_that_is_not_here_is_looked_for_on_the_cluster_that_is_set(command, tmp_path):
    workspace = tmp_path / ".sphinx-x"
    record = new_run(workspace, "mine", "nano", {})
    (folder_of(workspace, record.id) / LOG_FILE).write_text("mine\n")
    there = ("--endpoint", "http://127.0.0.1:9")
    assert command("logs", record.id, *there).output == "mine\n"
    for verb in ("logs", "stop"):
        assert "Kubeflow Pipelines does not answer" in command(verb, "4b289bf5", *there).output
