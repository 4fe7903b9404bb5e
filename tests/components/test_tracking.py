"""Training runs in MLflow: a database and a server process, both real."""

import json
import subprocess
import sys
import time

import pytest

from components.shared import mlflow_client, tracking
from components.shared.tracking import MlflowTracker, TrackedDataset, TrackedRun
from model.errors import RegistryError
from tests.support.mlflow_server import cuttable


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(tracking, "SEND_EVERY_SECONDS", 0.05)


def write_log(path, steps):
    """A run's log.jsonl, as the trainer writes it."""
    lines = [json.dumps({"step": step, "time": 1e9 + step, "loss": 1 / step, "loss/dataset/coco": 2 / step}) for step in steps]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def log_steps(tracker, steps):
    for step in steps:
        tracker.log(step, {"loss": 1 / step, "loss/dataset/coco": 2 / step})


def history(client, run_id, metric="train/loss"):
    return [(point.step, point.value) for point in sorted(client.get_metric_history(run_id, metric), key=lambda p: p.step)]


def test_a_run_has_its_parameters_datasets_and_every_step(mlflow):
    dataset = TrackedDataset("scenes", "s3://user:secret@bucket/corpora/abc", "f" * 64)
    params = tracking.flat({"optimizer": {"learning_rate": 2e-5}, "epochs": 1.0})
    tracker = MlflowTracker(TrackedRun("a" * 64, "train nano", "pipeline-1", params, [dataset]))
    log_steps(tracker, range(1, 251))
    tracker.close("FINISHED")
    run = mlflow.get_run(tracking.find_run(mlflow, "a" * 64))
    assert history(mlflow, run.info.run_id) == [(step, 1 / step) for step in range(1, 251)]
    assert len(history(mlflow, run.info.run_id, "train/loss/dataset/coco")) == 250
    assert run.data.params == {"train/optimizer/learning_rate": "2e-05", "train/epochs": "1.0"}
    assert run.info.status == "FINISHED"
    entry = run.inputs.dataset_inputs[0].dataset
    assert (entry.name, entry.digest) == ("scenes", "f" * 36)
    assert "secret" not in entry.source
    parent = mlflow.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["kfp.pipeline_run_id"] == "pipeline-1"


def test_the_parent_of_kubeflows_plugin_is_used_and_not_its_task_runs(mlflow):
    experiment = mlflow_client.experiment_id(mlflow)
    parent = mlflow.create_run(experiment, tags={"kfp.pipeline_run_id": "from-kfp"}).info.run_id
    mlflow.create_run(experiment, tags={"kfp.pipeline_run_id": "from-kfp", "mlflow.parentRunId": parent})
    assert tracking.parent_run(mlflow, "from-kfp") == parent
    assert tracking.parent_run(mlflow, "of-ours") == tracking.parent_run(mlflow, "of-ours") != parent


KILLED = """
import sys, time
from components.shared import tracking
tracking.SEND_EVERY_SECONDS = 0.05
tracker = tracking.MlflowTracker(tracking.TrackedRun("b" * 64, "train nano", "pipeline-1", {"train/epochs": "1"}))
for step in range(1, 31):
    tracker.log(step, {"loss": 1 / step, "loss/dataset/coco": 2 / step})
time.sleep(600)
"""


def test_a_killed_run_goes_on_in_the_same_run_and_no_step_is_there_twice(mlflow):
    training = subprocess.Popen([sys.executable, "-c", KILLED])
    try:
        wait_for(lambda: (found := tracking.find_run(mlflow, "b" * 64)) and len(history(mlflow, found)) == 30)
    finally:
        training.kill()
        training.wait()
    first = tracking.find_run(mlflow, "b" * 64)
    assert mlflow.get_run(first).info.status == "RUNNING"

    resumed = MlflowTracker(TrackedRun("b" * 64, "train nano", "pipeline-2", {"train/epochs": "1"}))
    log_steps(resumed, range(21, 51))  # from the checkpoint of step 20 on
    resumed.close("FINISHED")
    assert tracking.find_run(mlflow, "b" * 64) == first
    assert [step for step, _ in history(mlflow, first)] == list(range(1, 51))
    assert mlflow.get_run(first).data.tags["sphinx_x.pipeline_run"] == "pipeline-2"


def test_steps_that_a_kill_took_from_memory_are_sent_from_the_log(mlflow, tmp_path):
    log = write_log(tmp_path / "log.jsonl", range(1, 41))
    with open(log, "a") as file:
        file.write('{"step": 41, "ti')  # the kill's last line
    tracker = MlflowTracker(TrackedRun("c" * 64, "train nano", log_uri=log))
    log_steps(tracker, range(41, 51))
    tracker.close("FINISHED")
    assert [step for step, _ in history(mlflow, tracking.find_run(mlflow, "c" * 64))] == list(range(1, 51))


def test_a_finished_run_that_mlflow_never_saw_is_made_whole_afterwards(mlflow, tmp_path):
    run = TrackedRun("d" * 64, "train nano", log_uri=write_log(tmp_path / "log.jsonl", range(1, 11)))
    run_id = tracking.complete_run(mlflow, run)
    assert tracking.complete_run(mlflow, run) == run_id
    assert len(history(mlflow, run_id)) == 10
    assert mlflow.get_run(run_id).info.status == "FINISHED"


def test_training_does_not_notice_a_server_that_goes_away_and_comes_back(mlflow_server, tmp_path, monkeypatch, caplog):
    caplog.set_level("WARNING")
    monkeypatch.setattr(tracking, "ROWS_KEPT", 20)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with cuttable(mlflow_server) as (uri, faults):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        client = mlflow_client.open_client()
        tracker = MlflowTracker(TrackedRun("e" * 64, "train nano", log_uri=str(tmp_path / "log.jsonl")))
        log_steps(tracker, range(1, 11))
        wait_for(lambda: (found := tracking.find_run(client, "e" * 64)) and len(history(client, found)) == 10)
        faults.every(1, status=0)
        begin = time.perf_counter()
        log_steps(tracker, range(11, 101))  # more than are kept in memory
        assert time.perf_counter() - begin < 0.5
        wait_for(lambda: caplog.records)
        time.sleep(0.5)  # it fails several times more
        write_log(tmp_path / "log.jsonl", range(1, 101))
        faults.clear()
        tracker.close("FINISHED")
        run_id = tracking.find_run(client, "e" * 64)
        assert [step for step, _ in history(client, run_id)] == list(range(1, 101))
    said = [record.getMessage() for record in caplog.records if record.name == tracking.logger.name]
    assert len(said) == 1
    assert said[0].startswith("Training goes on without MLflow, its curves are kept in log.jsonl: ")


def test_a_server_that_never_comes_back_does_not_hold_up_the_end_of_training(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = MlflowTracker(TrackedRun("9" * 64, "train nano"))
    log_steps(tracker, range(1, 11))
    begin = time.perf_counter()
    tracker.close("FINISHED")
    assert time.perf_counter() - begin < 10
    assert "does not answer; check MLFLOW_TRACKING_URI" in caplog.text


def test_an_unreachable_server_is_named_in_one_sentence_within_seconds(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    begin = time.perf_counter()
    with pytest.raises(
        RegistryError, match=r"^cannot reach MLflow: MLflow at http://127.0.0.1:9 does not answer; check"
    ) as caught:
        mlflow_client.check_reachable()
    assert time.perf_counter() - begin < 10
    assert "secret" not in str(caught.value)


def test_a_database_that_is_none_is_named_in_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_text("this is text, and there is more of it than a header has" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(RegistryError, match="cannot be opened as a database; check the file"):
        mlflow_client.check_reachable()


def test_a_laptop_keeps_mlflow_in_its_workspace(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert mlflow_client.check_reachable() == f"sqlite:///{tmp_path}/.sphinx-x/mlflow.db"


def test_only_rank_0_tracks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert tracking.tracker_for(None) is None  # type: ignore[arg-type]  another rank looks at nothing


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
