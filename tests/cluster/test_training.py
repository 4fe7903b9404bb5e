"""A real model trained on two nodes of a real cluster, by the real image: nano, DeepSpeed over gloo, data and checkpoints in S3.

The launcher is a process of its own here, as it is in its pod; it is killed, and so is a node in the middle of training.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model import storage
from model.train.config import TrainConfig
from model.train.spec import LOG_FILE, TrainSpec, run_uri
from model.weights import read_base
from tests.cluster.source import with_source
from tests.cluster.support import OPS_IMAGE, TRAIN_IMAGE, apply, end_of_pod, get, kubectl, pod, wait_for
from tests.cluster.train_runtime import train_runtime
from tests.support import tiny
from tests.support.corpora import make_corpus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

TRAIN_SECONDS = 1200
"""Two nodes import torch and DeepSpeed on a busy machine, then train some dozen steps."""

TASK = """
import json, sys
from components.shared.task import running
from components.train import logic
with running("train"):
    print("digest", logic.run(**json.loads(sys.argv[1])).manifest.digest)
"""


@pytest.fixture(scope="module")
def spec(namespace, s3, settings, tmp_path_factory) -> Iterator[TrainSpec]:
    """A corpus and a base in the cluster's S3, a runtime in the namespace; this process reaches both."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        # Without a request a busy machine gives a pod next to nothing.
        resources = {"requests": {"cpu": "400m", "memory": "1Gi"}}
        runtime = train_runtime("nano", TRAIN_IMAGE, grace_seconds=60, envFrom=s3.env_from, resources=resources)
        with_source(namespace, runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"])
        apply(namespace, runtime)
        corpus = make_corpus(folder, s3.uri("store"))
        tiny.make_base(folder / "base")
        storage.upload_tree(folder / "base", s3.uri("base"))
        config = tiny.quick_config(epochs=12, checkpoint={"every_steps": 5})
        yield TrainSpec(corpus_uri=corpus, base_uri=s3.uri("base"), store_uri=s3.uri("store"), config=config)


def task_arguments(spec: TrainSpec, run_id: str, num_nodes: int = 2) -> str:
    return json.dumps(
        {
            "corpus_uri": spec.corpus_uri,
            "base_uri": spec.base_uri,
            "base_digest": read_base(spec.base_uri).digest,
            "store_uri": spec.store_uri,
            "train_config_json": spec.config.model_dump_json(),
            "num_nodes": num_nodes,
            "processes_per_node": 1,
            "run_id": run_id,
            "device": "cpu",
        }
    )


class Launcher:
    """The train task in a process of its own; its lines are kept as they come."""

    def __init__(self, spec: TrainSpec, namespace: str, run_id: str) -> None:
        environment = {**os.environ, "SPHINX_X_TRAIN_NAMESPACE": namespace, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TASK, task_arguments(spec, run_id)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in self.process.stdout)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def end(self) -> int:
        try:
            code = self.process.wait(TRAIN_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise AssertionError(self.text[-6000:]) from error
        time.sleep(0.5)  # for the reading thread
        return code

    def says(self, words: str, seconds: float = TRAIN_SECONDS) -> str:
        def said() -> str:
            assert self.process.poll() is None or words in self.text, self.text[-6000:]
            return next((line for line in self.lines if words in line), "")

        try:
            return wait_for(said, seconds, words)
        except TimeoutError as error:
            raise AssertionError(self.text[-6000:]) from error


def steps_of(spec: TrainSpec) -> list[int]:
    uri = storage.join(run_uri(spec), LOG_FILE)
    return [json.loads(line)["step"] for line in storage.read_text(uri).splitlines()] if storage.exists(uri) else []


def in_store(spec: TrainSpec, name: str) -> TrainSpec:
    return spec.model_copy(update={"store_uri": storage.join(spec.store_uri, name)})


def test_a_killed_node_and_a_killed_launcher_change_nothing_of_the_model(namespace, spec, mlflow_url):
    undisturbed = Launcher(in_store(spec, "undisturbed"), namespace, "run-undisturbed")
    assert undisturbed.end() == 0, undisturbed.text[-6000:]
    digest = undisturbed.lines[-1]
    assert digest.startswith("digest ")

    disturbed = in_store(spec, "disturbed")
    first = Launcher(disturbed, namespace, "run-disturbed")
    name = first.says("made TrainJob").split(f"{namespace}/")[1].split(":")[0]
    wait_for(lambda: len(steps_of(disturbed)) >= 8, TRAIN_SECONDS, "eight steps")
    first.process.send_signal(signal.SIGKILL)
    selector = f"jobset.sigs.k8s.io/jobset-name={name},batch.kubernetes.io/job-completion-index=1"
    kubectl("-n", namespace, "delete", "pod", "-l", selector, "--grace-period=0", "--force")
    second = Launcher(disturbed, namespace, "run-disturbed")
    assert second.end() == 0, second.text[-6000:]
    assert "adopted TrainJob" in second.text
    jobset = get(namespace, "jobset", name)
    assert jobset is not None
    assert jobset["status"]["restarts"] == 1, second.text[-6000:]
    assert second.lines[-1] == digest
    steps = steps_of(disturbed)
    assert len(set(steps)) == len(steps) == max(steps)  # each step once, those after the checkpoint again

    # A third launcher finds the finished run, and asks no cluster.
    third = Launcher(disturbed, "no-such-namespace", "run-later")
    assert third.end() == 0
    assert third.lines[-1] == digest
    assert_curves(mlflow_url, namespace, "run-disturbed", max(steps))


def assert_curves(url: str, experiment: str, run_id: str, steps: int) -> None:
    """MLflow has the training below the pipeline run's parent, each step once."""
    from mlflow import MlflowClient

    client = MlflowClient(url, url)
    number = client.get_experiment_by_name(experiment).experiment_id
    (parent,) = client.search_runs([number], f"tags.`kfp.pipeline_run_id` = '{run_id}'")
    (child,) = client.search_runs([number], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert child.info.status == "FINISHED"
    assert [one.step for one in client.get_metric_history(child.info.run_id, "train/loss")] == list(range(1, steps + 1))


def test_a_bad_configuration_ends_at_once_with_its_sentence_on_the_task(namespace, spec):
    config = TrainConfig.model_validate(
        {**spec.config.model_dump(), "packs": {**spec.config.packs.model_dump(), "packs_multiple": 3, "batch_size": 1}}
    )
    launcher = Launcher(in_store(spec, "bad").model_copy(update={"config": config}), namespace, "run-bad")
    assert launcher.end() == 1, launcher.text[-6000:]
    assert "2 ranks" in launcher.lines[-1], launcher.text[-6000:]
    assert "restart" not in launcher.text


def test_a_launcher_that_is_stopped_stops_the_nodes_and_the_next_one_goes_on(namespace, spec):
    stopped = in_store(spec, "stopped")
    first = Launcher(stopped, namespace, "run-stopped")
    name = first.says("made TrainJob").split(f"{namespace}/")[1].split(":")[0]
    wait_for(lambda: len(steps_of(stopped)) >= 3, TRAIN_SECONDS, "three steps")
    first.process.send_signal(signal.SIGTERM)
    assert first.end() != 0
    wait_for(lambda: get(namespace, "trainjob", name) is None, 60, "the TrainJob to go")
    before = max(steps_of(stopped))
    again = Launcher(stopped, namespace, "run-stopped")
    assert again.end() == 0, again.text[-6000:]
    steps = steps_of(stopped)
    assert len(set(steps)) == len(steps) > before


RULES = [
    {
        "apiGroups": ["trainer.kubeflow.org"],
        "resources": ["trainjobs"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
    {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get"]},
]
"""All that a launcher's service account may do; the chart's Role says the same."""


def test_a_launchers_pod_that_is_taken_away_leaves_its_trainjob_to_the_next(namespace, spec):
    for kind, body in (
        ("ServiceAccount", {"apiVersion": "v1"}),
        ("Role", {"apiVersion": "rbac.authorization.k8s.io/v1", "rules": RULES}),
        (
            "RoleBinding",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "launcher"},
                "subjects": [{"kind": "ServiceAccount", "name": "launcher", "namespace": namespace}],
            },
        ),
        ("Workflow", {"apiVersion": "argoproj.io/v1alpha1", "spec": {}}),
    ):
        apply(namespace, {"kind": kind, "metadata": {"name": "launcher"}, **body})
    uid = (get(namespace, "workflow", "launcher") or {})["metadata"]["uid"]
    # Long enough for the second pod to start before the end, on a fast machine too.
    mine = in_store(spec, "pods").model_copy(update={"config": spec.config.model_copy(update={"epochs": 60.0})})

    def launch(name: str) -> None:
        made = pod(
            name, OPS_IMAGE, ["python", "-c", TASK, task_arguments(mine, "run-pods")], env=[{"name": "HOME", "value": "/tmp"}]
        )
        made["spec"]["containers"][0]["envFrom"] = [
            {"configMapRef": {"name": "sphinx-x-settings"}},
            {"secretRef": {"name": "sphinx-x-s3"}},
        ]
        with_source(namespace, made["spec"])
        made["spec"] |= {"serviceAccountName": "launcher", "automountServiceAccountToken": True}
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "launcher", "uid": uid, "controller": True}
        made["metadata"]["ownerReferences"] = [owner]
        kubectl("-n", namespace, "create", "-f", "-", stdin=made)

    launch("launcher-1")
    selector = "sphinx-x/pipeline-run=run-pods"
    jobs = wait_for(
        lambda: json.loads(kubectl("-n", namespace, "get", "trainjobs", "-l", selector, "-o", "json"))["items"],
        TRAIN_SECONDS,
        "a TrainJob",
    )
    assert jobs[0]["metadata"]["ownerReferences"][0]["uid"] == uid
    wait_for(lambda: len(steps_of(mine)) >= 2, TRAIN_SECONDS, "two steps")
    kubectl("-n", namespace, "delete", "pod", "launcher-1", "--wait=true")
    launch("launcher-2")
    ended = end_of_pod(namespace, "launcher-2", TRAIN_SECONDS)
    assert ended.exit_code == 0, ended.logs[-6000:]
    assert "adopted TrainJob" in ended.logs
    assert "digest " in ended.logs.splitlines()[-1]
    jobset = get(namespace, "jobset", jobs[0]["metadata"]["name"])
    assert jobset is not None
    assert jobset["status"].get("restarts", 0) == 0
    for secret in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert os.environ[secret] not in json.dumps(jobs) + json.dumps(jobset) + ended.logs
