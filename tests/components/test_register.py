"""A judged model becomes one version, however often and wherever it is interrupted; MLflow and its files are real."""

import json
import pickle
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from components.register import logic
from components.register.logged_model import REQUIREMENTS
from components.shared import mlflow_client
from model import storage
from model.contracts.release import Tag
from model.errors import ContractError, RegistryError
from tests.support.mlflow_server import cuttable
from tests.support.released import result_of

ROOT = Path(__file__).parents[2]


def versions(mlflow, name):
    return mlflow.search_model_versions(f"name = '{name}'")


def logged_models(mlflow, digest):
    wanted = f"tags.`{Tag.MODEL_DIGEST}` = '{digest}'"
    return mlflow.search_logged_models([mlflow_client.experiment_id(mlflow)], wanted)


def test_a_version_says_where_it_comes_from_and_what_it_scored(judged_model, mlflow):
    release = logic.run(**judged_model.arguments(name="says-all", promote=False))
    version = mlflow.get_model_version_by_alias("says-all", "candidate")
    assert (release.version, release.uri, release.aliases) == (str(version.version), "models:/says-all/1", ("candidate",))
    assert release.tags == version.tags
    names = {value for key, value in vars(Tag).items() if key.isupper() and key != "SCORE_PREFIX"}
    assert set(version.tags) == names | {"sphinx_x.score.held"}
    assert version.tags[Tag.MODEL_DIGEST] == judged_model.manifest.digest
    assert re.fullmatch(r"[0-9a-f]{40}(-changed)?", version.tags[Tag.GIT_SHA])
    assert (version.tags[Tag.GATE], version.tags["sphinx_x.score.held"]) == ("closed", "0.7500")
    assert json.loads(version.tags[Tag.LICENCES]) == {"pictured": "CC-BY-4.0", "texts": "MIT", "tiny-base": "Apache-2.0"}
    assert str(judged_model.store_uri) not in json.dumps(version.tags)  # a URI may hold credentials
    assert "| held | accuracy | 0.750 (0.700 to 0.800) | 0.500 | 200 |" in version.description


def test_the_model_belongs_to_its_training_run_whose_curves_are_whole(judged_model, mlflow):
    release = logic.run(**judged_model.arguments(name="has-a-run"))
    model = mlflow.get_logged_model(release.model_id)
    run = mlflow.get_run(model.source_run_id)
    assert run.data.tags[Tag.RUN_DIGEST] == judged_model.manifest.run_digest
    assert run.data.metrics["eval/held"] == 0.75
    assert [(metric.key, metric.value) for metric in model.metrics] == [("eval/held", 0.75)]
    assert len(mlflow.get_metric_history(run.info.run_id, "train/loss")) == 20
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} == {"tiny", "pictured", "texts"}
    assert mlflow.get_run(run.data.tags["mlflow.parentRunId"]).data.tags["kfp.pipeline_run_id"] == "pipeline-1"


def test_the_same_model_with_the_same_results_is_found_again(judged_model, mlflow):
    first = logic.run(**judged_model.arguments(name="found-again"))
    models = len(logged_models(mlflow, judged_model.manifest.digest))
    slower = result_of(judged_model.manifest, 0.75, seconds=99.0)  # evaluated again, on a busy machine
    again = logic.run(**_with(judged_model, slower).arguments(name="found-again", run_id="pipeline-2"))
    assert again == first
    assert len(versions(mlflow, "found-again")) == 1
    assert len(logged_models(mlflow, judged_model.manifest.digest)) == models


def test_other_results_make_a_new_candidate_and_leave_the_champion(judged_model, mlflow):
    first = logic.run(**judged_model.arguments(name="judged-again"))
    mlflow.set_registered_model_alias("judged-again", "champion", first.version)
    second = logic.run(**_with(judged_model, result_of(judged_model.manifest, 0.8)).arguments(name="judged-again"))
    assert (second.version, second.aliases) == ("2", ("candidate",))
    assert mlflow.get_model_version_by_alias("judged-again", "champion").version in (1, "1")


def test_a_version_carries_the_gates_latest_decision_unless_it_was_compared_with_itself(judged_model, mlflow):
    arguments = judged_model.arguments
    logic.run(**arguments(name="gate", promote=True))
    assert logic.run(**arguments(name="gate", promote=False, champion="1")).tags[Tag.GATE] == "open"
    later = logic.run(**arguments(name="gate", promote=False, champion="7")).tags
    assert (later[Tag.GATE], later[Tag.GATE_CHAMPION]) == ("closed", "7")


def test_results_of_another_model_are_refused(judged_model, mlflow):
    other = judged_model.manifest.model_copy(update={"digest": "f" * 64})
    with pytest.raises(ContractError, match=r"^result held is about model ffffffffffff, not about .*; evaluate this model"):
        logic.run(**_with(judged_model, result_of(other, 0.9)).arguments(name="mixed-up"))


def test_an_exported_file_that_was_altered_is_not_registered(judged_model, mlflow, tmp_path):
    copy = tmp_path / "model"
    storage.download_tree(judged_model.model_uri, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    manifest = judged_model.manifest.model_copy(update={"digest": "a" * 64})
    storage.write_text(str(copy / "sphinx_x_manifest.json"), manifest.to_json())
    altered = _with(judged_model, result_of(manifest, 0.9), model_uri=str(copy), manifest=manifest)
    with pytest.raises(ContractError, match="model.safetensors is not what the model's manifest says"):
        logic.run(**altered.arguments(name="altered"))
    assert not mlflow.search_registered_models("name = 'altered'")


KILLED = """
import os, pickle, signal, sys
import mlflow
from components.register import logic
arguments = pickle.load(sys.stdin.buffer)

def die_at(method, call):
    real, calls = getattr(mlflow.MlflowClient, method), []
    def until(*args, **kwargs):
        calls.append(method)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(mlflow.MlflowClient, method, until)

for point in [("log_model_artifact", 1), ("log_model_artifact", 9), ("finalize_logged_model", 1), ("create_model_version", 1),
              ("set_registered_model_alias", 1)]:
    if (child := os.fork()) == 0:
        die_at(*point)
        logic.run(**arguments)
        os._exit(0)
    print(point[0], os.waitpid(child, 0)[1], flush=True)
"""


def test_killed_anywhere_and_run_again_there_is_one_version_with_all_its_files(judged_model, mlflow):
    fresh = _with(judged_model, result_of(judged_model.manifest, 0.61))
    arguments = fresh.arguments(name="killed")
    done = subprocess.run([sys.executable, "-c", KILLED], input=pickle.dumps(arguments), capture_output=True, timeout=120)
    said = done.stdout.decode().split()
    assert said[1::2] == [str(int(signal.SIGKILL))] * 5, done.stderr.decode()[-2000:]

    release = logic.run(**arguments)
    assert [str(version.version) for version in versions(mlflow, "killed")] == ["1"]
    wanted = release.tags[Tag.RESULTS_DIGEST]
    models = [model for model in logged_models(mlflow, release.model_digest) if model.tags[Tag.RESULTS_DIGEST] == wanted]
    assert [model.model_id for model in models] == [release.model_id]
    folder = Path(models[0].artifact_location.removeprefix("file://"))
    for file in judged_model.manifest.files:
        assert storage.sha256_of(folder / file.path) == file.sha256
    extra = {path.name for path in folder.iterdir()} - {file.path for file in judged_model.manifest.files}
    assert extra == {
        "MLmodel", "README.md", "conda.yaml", "python_env.yaml", "report.html", "requirements.txt", "results",
        "sphinx_x_manifest.json", "sphinx_x_pyfunc.py",
    }  # fmt: skip
    assert str(ROOT) not in (folder / "MLmodel").read_text()


def test_a_model_in_s3_is_registered_over_a_server_that_fails_now_and_then(judged_model, s3, mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    storage.upload_tree(Path(judged_model.model_uri), s3.uri("models/nano"))
    remote = _with(judged_model, result_of(judged_model.manifest, 0.62), model_uri=s3.uri("models/nano"))
    with cuttable(mlflow_server) as (uri, faults):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        faults.every(5, status=0, matching="mlflow-artifacts", times=1)
        with pytest.raises(RegistryError, match=rf"^cannot register far-away: MLflow at {uri} does not answer; check"):
            logic.run(**remote.arguments(name="far-away"))
        release = logic.run(**remote.arguments(name="far-away"))
        client = mlflow_client.open_client()
        assert [str(version.version) for version in versions(client, "far-away")] == ["1"]
        scores = [model.tags["sphinx_x.score.held"] for model in logged_models(client, release.model_digest)]
        assert scores.count("0.6200") == 1


def test_what_a_registered_model_requires_is_the_projects_extra_model():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert list(REQUIREMENTS) == [*extras["model"], "pandas>=2"]


def test_the_code_version_comes_from_the_image_where_there_is_one(monkeypatch):
    monkeypatch.setenv("SPHINX_X_GIT_SHA", "f" * 40)
    assert logic.git_sha() == "f" * 40


def _with(judged, *results, **fields):
    return replace(judged, results=results, **fields)
