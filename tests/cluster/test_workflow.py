"""The whole workflow with a cluster: data and models in its S3, runs in its MLflow, training as a TrainJob on two nodes by the chart's
runtime, a champion that a stranger's pod pulls and asks.

The DAG is executed by kfp.local in this process's place, as `sphinx-x run --train-in` does it; tests/cluster/test_kubeflow.py sends
the same DAG to a Kubeflow API.
"""

import io
import json
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from components.shared import platform
from model import storage
from model.errors import SphinxError
from model.recipes import load_recipe
from model.train.spec import LOG_FILE
from pipelines.arguments import local_arguments
from pipelines.local import run_pipeline
from pipelines.runs import RunRecord
from tests.cluster.release import chart_values, install
from tests.cluster.support import MLFLOW_SERVICE, TRAIN_IMAGE, get, inside, kubectl, pod, run_pod, wait_for
from tests.support.small_world import OVERRIDES, write_world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAME = f"small-on-cluster-{secrets.token_hex(4)}"
"""The cluster's registry outlives a test run."""
RUN_SECONDS = 900
LONGER = {**OVERRIDES, "epochs": 40}
"""Some hundred steps: time enough for things to happen meanwhile."""

STRANGER = """
import mlflow, sys
from PIL import Image
from transformers import AutoModelForImageTextToText
assert "sphinx" not in " ".join(sys.modules)
folder = mlflow.artifacts.download_artifacts(sys.argv[1])
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
print("answer:", repr(model.chat(Image.new("RGB", (90, 60), "red"), "What is this?", max_new_tokens=8)))
"""


@dataclass(frozen=True)
class World:
    """A recipe and a base in the cluster's S3, the chart in a namespace."""

    namespace: str
    recipe_uri: str
    base_uri: str
    store_uri: str
    folder: Path

    def run(self, overrides: dict = OVERRIDES, **more: str | int) -> tuple[RunRecord, str]:
        """Executes the DAG; its record and what was shown.

        Raises:
            SphinxError: the sentence of the task that failed.
        """
        arguments = local_arguments(self.recipe_uri, self.store_uri, self.base_uri, "nano", overrides, 1)
        arguments |= {"train_num_nodes": 2, "train_device": "cpu", **more}
        shown = io.StringIO()
        record = run_pipeline(self.folder / "ws", load_recipe(self.recipe_uri), arguments, Console(file=shown, width=200))
        return record, shown.getvalue()

    def trainjobs(self) -> list[str]:
        return kubectl("-n", self.namespace, "get", "trainjobs", "-o", "name").split()

    def log_rows(self) -> list[dict]:
        """Rows of all training logs in the store; fewer than there are where storage does not answer."""
        try:
            files = [one.path for one in storage.list_files(self.store_uri) if one.path.endswith(LOG_FILE)]
            texts = [storage.read_text(storage.join(self.store_uri, path)) for path in files]
        except SphinxError:
            return []
        return [json.loads(line) for text in texts for line in text.splitlines()]


@pytest.fixture(scope="module")
def world(namespace, s3, mlflow_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", namespace)
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv(platform.TRAIN_NAMESPACE, namespace)
        install(namespace, chart_values(s3, namespace))
        recipe, base = write_world(folder / "raw", model_name=NAME)
        storage.upload_tree(recipe.parent, s3.uri("data"))
        storage.upload_tree(Path(base), s3.uri("base"))
        yield World(namespace, s3.uri("data", recipe.name), s3.uri("base"), s3.uri("store"), folder)


@pytest.fixture(scope="module")
def first(world) -> tuple[RunRecord, str]:
    return world.run()


def test_raw_data_in_s3_becomes_a_champion_trained_on_two_nodes(world, first):
    record, shown = first
    assert (record.state, record.gate, record.version) == ("succeeded", "open", "1"), shown
    (name,) = world.trainjobs()
    job = get(world.namespace, "trainjob", name.partition("/")[2])
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert [one["type"] for one in job["status"]["conditions"] if one["status"] == "True"] == ["Complete"]
    assert record.model_uri.startswith(world.store_uri)


def test_a_stranger_pulls_the_champion_through_mlflow_and_asks_it(world, first):
    uri = {"name": "MLFLOW_TRACKING_URI", "value": inside(MLFLOW_SERVICE)}
    asks = pod("stranger", TRAIN_IMAGE, ["python3", "-c", STRANGER, f"models:/{NAME}@champion"], env=[uri], workingDir="/tmp")
    assert "answer: '" in run_pod(world.namespace, asks, seconds=300)


def test_each_node_was_measured_and_the_training_run_has_its_curve(world, first):
    from components.shared.mlflow_client import experiment_id, open_client

    client = open_client()
    runs = client.search_runs([experiment_id(client)], order_by=["attributes.start_time ASC"])
    (training,) = (run for run in runs if run.info.run_name == "train nano")
    assert "train/loss" in training.data.metrics
    parents = [run for run in runs if run.info.run_id == training.data.tags["mlflow.parentRunId"]]
    assert [run.info.status for run in parents] == ["FINISHED"]


def test_a_run_with_a_later_step_mended_reuses_the_finished_training(world, first):
    before = world.trainjobs()
    record, shown = world.run(eval_mode="sphinx")  # all that follows training is done anew
    assert record.state == "succeeded"
    assert "finished before" in shown
    assert world.trainjobs() == before


def test_a_bad_configuration_fails_in_the_first_step_with_a_sentence(world, first):
    before = world.trainjobs()
    with pytest.raises(SphinxError, match="^validate: 3 processes cannot share packs_multiple=2 packs evenly"):
        world.run(train_num_nodes=3)
    with pytest.raises(SphinxError, match=r"^validate: no node of this cluster offers nvidia.com/gpu"):
        world.run(train_device="gpu")
    assert world.trainjobs() == before


def test_s3_restarts_and_mlflow_is_away_for_a_minute_and_the_run_survives(world, first):
    owner, _, rest = MLFLOW_SERVICE.partition("/")
    mlflow = rest.partition(":")[0]
    told: list[str] = []

    def disturb() -> None:
        steps = len(world.log_rows())
        wait_for(lambda: len(world.log_rows()) > steps + 3, RUN_SECONDS, "the first steps of training", every=1)
        kubectl("-n", owner, "scale", "deployment", mlflow, "--replicas=0")
        kubectl("-n", owner, "rollout", "restart", "deployment", "s3")
        told.append(f"away at step {len(world.log_rows())}")
        time.sleep(60)
        kubectl("-n", owner, "scale", "deployment", mlflow, "--replicas=1")
        kubectl("-n", owner, "rollout", "status", "deployment", mlflow, "--timeout=180s", seconds=200)
        told.append("back")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        record, shown = world.run(LONGER)
    finally:
        thread.join()
    assert record.state == "succeeded", shown
    assert told[-1] == "back"


def test_a_training_that_fails_says_why_on_its_task(world, first):
    (shard,) = (one for one in storage.list_files(world.store_uri) if "/named-" in one.path and one.path.endswith(".tar"))
    uri = storage.join(world.store_uri, shard.path)
    whole = storage.read_bytes(uri)
    storage.write_bytes(uri, bytes(len(whole)))  # another size would be noticed by unify, and made again
    try:
        with pytest.raises(SphinxError, match=r"^train: .*\.tar") as caught:
            world.run({**OVERRIDES, "epochs": 3})
    finally:
        storage.write_bytes(uri, whole)
    assert str(caught.value).count(". ") == 0, "one sentence"


def test_no_secret_is_in_any_object_log_or_record(world, first, s3):
    from components.shared.mlflow_client import experiment_id, open_client

    secret = s3.credentials["AWS_SECRET_ACCESS_KEY"]
    objects = kubectl("-n", world.namespace, "get", "pods,trainjobs,jobsets,jobs,configmaps", "-o", "json")
    logs = [
        kubectl("-n", world.namespace, "logs", name, "--all-containers", check=False)
        for name in kubectl("-n", world.namespace, "get", "pods", "-o", "name").split()
    ]
    client = open_client()
    records = [str(run.to_dictionary()) for run in client.search_runs([experiment_id(client)])]
    versions = [str(dict(found)) for found in client.search_model_versions(f"name = '{NAME}'")]
    local = [path.read_text(errors="replace") for path in (world.folder / "ws" / "runs").rglob("*") if path.is_file()]
    assert records
    assert versions
    for text in (objects, *logs, *records, *versions, *local):
        assert secret not in text
