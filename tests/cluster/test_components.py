"""Every task of the DAG as a pod of its real image, by the command that KFP's launcher gives it, under the restricted profile with a
read-only root: data in the cluster's S3, models in its MLflow, training as a real TrainJob of two nodes.

Each fixture is a task and runs once; the tests say what must have come of it.
"""

import json
import re
import uuid
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import S3
from tests.cluster.launcher import SERVICE_ACCOUNT, Launcher, Ran
from tests.cluster.support import TRAIN_IMAGE, apply, kubectl
from tests.cluster.train_runtime import train_runtime
from tests.support.small_world import OVERRIDES, write_world

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

RULES = [
    {
        "apiGroups": ["trainer.kubeflow.org"],
        "resources": ["trainjobs"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainingruntimes"], "verbs": ["get", "list"]},
    {"apiGroups": ["jobset.x-k8s.io"], "resources": ["jobsets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods", "pods/log", "events"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list"]},
]
"""What the account of pipeline pods may do: of KFP's own Role what our tasks use, and what the chart adds."""


@pytest.fixture(scope="module")
def launcher(namespace: str, s3: S3, settings: dict[str, str]) -> Launcher:
    role = {"kind": "Role", "name": SERVICE_ACCOUNT, "apiGroup": "rbac.authorization.k8s.io"}
    group = "rbac.authorization.k8s.io/v1"
    apply(
        namespace,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT}},
        {"apiVersion": group, "kind": "Role", "metadata": {"name": SERVICE_ACCOUNT}, "rules": RULES},
        {
            "apiVersion": group,
            "kind": "RoleBinding",
            "metadata": {"name": SERVICE_ACCOUNT},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT}],
        },
        train_runtime("nano", TRAIN_IMAGE, envFrom=s3.env_from),
    )
    return Launcher(namespace, s3, str(uuid.uuid4()))


@pytest.fixture(scope="module")
def recipe_uri(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small world in S3: raw files of three families, a recipe beside them, a base in the store."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder)
            place = Path("bases/nano", *name.parts[1:]) if name.parts[0] == "base" else Path("world") / name
            s3.client.upload_file(str(path), s3.bucket, f"{s3.prefix}/{place}")
    return s3.uri("world/recipe.yaml")


@pytest.fixture(scope="module")
def checked(launcher: Launcher, recipe_uri: str) -> Ran:
    return launcher.run("validate", validate_inputs(recipe_uri))


def validate_inputs(recipe_uri: str, **changes) -> dict:
    inputs = {
        "recipe_uri": recipe_uri,
        "store_uri": "",
        "base_uri": "",
        "variant": "nano",
        "overrides": yaml.safe_dump(OVERRIDES),
        "num_nodes": 2,
        "processes_per_node": 1,
        "device": "cpu",
        "mode": "official",
        "model_name": f"components-{uuid.uuid4().hex[:8]}",
    }
    return {**inputs, **changes}


@pytest.fixture(scope="module")
def data(checked: Ran) -> dict[str, str]:
    return {name: checked.parameters[name] for name in ("recipe_json", "store_uri")}


@pytest.fixture(scope="module")
def unified(launcher: Launcher, checked: Ran, data: dict[str, str]) -> dict[str, Ran]:
    return {name: launcher.run("unify", {"dataset": name, **data}, item=name) for name in checked.parameters["dataset_names"]}


@pytest.fixture(scope="module")
def merged(launcher: Launcher, unified: dict[str, Ran], data: dict[str, str]) -> Ran:
    return launcher.run("merge", {"dataset_uris": [ran.parameters["Output"] for ran in unified.values()], **data})


@pytest.fixture(scope="module")
def prepared(launcher: Launcher, checked: Ran, merged: Ran) -> Ran:
    inputs = {name: checked.parameters[name] for name in ("registered_name", "store_uri", "base_uri", "base_digest")}
    chosen = {"variant": "nano", "start_from": "base", "when_unchanged": "stop"}
    return launcher.run("prepare", {"corpus_uri": merged.parameters["Output"], **inputs, **chosen})


@pytest.fixture(scope="module")
def trained(launcher: Launcher, checked: Ran, merged: Ran, prepared: Ran) -> Ran:
    inputs = {
        "corpus_uri": merged.parameters["Output"],
        "base_uri": prepared.parameters["base_uri"],
        "base_digest": prepared.parameters["base_digest"],
        "store_uri": checked.parameters["store_uri"],
        "train_config_json": checked.parameters["train_config_json"],
        "num_nodes": 2,
        "processes_per_node": 1,
        "run_id": launcher.run_id,
        "device": "cpu",
        "task_config": {"resources": {"limits": {"memory": "4Gi"}}, "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]},
    }
    return launcher.run("train", inputs, seconds=900)


@pytest.fixture(scope="module")
def judged(launcher: Launcher, checked: Ran, trained: Ran, data: dict[str, str]) -> dict[str, Ran]:
    inputs = {"model_uri": trained.parameters["model_uri"], "mode": "official", "gpus": checked.parameters["eval_gpus"], **data}
    names = checked.parameters["benchmark_names"]
    return {name: launcher.run("evaluate", {"benchmark": name, **inputs}, item=name) for name in names}


@pytest.fixture(scope="module")
def candidate(launcher: Launcher, checked: Ran, merged: Ran, trained: Ran, judged: dict[str, Ran]) -> dict:
    return {
        "recipe_json": checked.parameters["recipe_json"],
        "corpus_uri": merged.parameters["Output"],
        "model_uri": trained.parameters["model_uri"],
        "run_uri": trained.parameters["run_uri"],
        "registered_name": checked.parameters["registered_name"],
        "run_id": launcher.run_id,
        "result_uris": [ran.parameters["Output"] for ran in judged.values()],
    }


@pytest.fixture(scope="module")
def reported(launcher: Launcher, candidate: dict) -> Ran:
    return launcher.run("report", {"promote": "when_better", **candidate})


@pytest.fixture(scope="module")
def registered(launcher: Launcher, candidate: dict, reported: Ran) -> Ran:
    page = {"page": reported.artifacts["page"]}
    return launcher.run("register", {"decision_json": reported.parameters["decision_json"], **candidate}, page)


def test_validate_hands_on_what_the_tasks_need(checked, s3):
    said = checked.parameters
    assert (said["store_uri"], said["base_uri"]) == (s3.uri(), s3.uri("bases/nano"))
    assert (said["dataset_names"], said["benchmark_names"]) == (["cups", "named", "talk"], ["cups-held-out", "named-val"])
    assert said["eval_gpus"] == 0
    assert b"| tiny-base (Apache-2.0) |" in checked.artifacts["summary"].content


def test_a_bad_configuration_ends_in_a_sentence_as_the_last_line(launcher, recipe_uri, s3):
    ran = launcher.run("validate", validate_inputs(recipe_uri, num_nodes=3), item="bad", expect=1)
    assert "3 processes cannot share packs_multiple=2 packs evenly" in ran.logs.strip().splitlines()[-1]
    ran = launcher.run(
        "validate", validate_inputs(recipe_uri, variant="tiny", base_uri=s3.uri("bases/nano")), item="no-runtime", expect=1
    )
    assert "sphinx-x-tiny" in ran.logs.strip().splitlines()[-1]


def test_unify_and_merge_leave_a_corpus_in_the_store_and_a_manifest_in_kubeflow(unified, merged, s3):
    assert {name: ran.artifacts["manifest"].metadata["store_uri"] for name, ran in unified.items()} == {
        name: ran.parameters["Output"] for name, ran in unified.items()
    }
    corpus = json.loads(merged.artifacts["manifest"].content)
    assert [one["name"] for one in corpus["datasets"]] == ["cups", "named", "talk"]
    assert merged.parameters["Output"].startswith(s3.uri("corpora/"))
    stored = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=merged.parameters["Output"].removeprefix(f"s3://{s3.bucket}/"))
    assert stored["KeyCount"] >= 2


def test_prepare_trains_a_new_name_from_the_given_base(prepared, checked):
    assert prepared.parameters["go_on"] == "yes"
    assert prepared.parameters["base_uri"] == checked.parameters["base_uri"]


def test_train_ran_on_two_nodes_and_left_no_trainjob_running(trained, namespace):
    manifest = json.loads(trained.artifacts["model"].content)
    assert manifest["digest"] == trained.parameters["model_digest"]
    assert manifest["steps"] >= 2
    assert trained.artifacts["metrics"].metadata["steps"] == manifest["steps"]
    assert "2 x 1 processes on cpu" in trained.logs
    jobs = json.loads(kubectl("-n", namespace, "get", "trainjobs", "-o", "json"))["items"]
    assert len(jobs) == 1
    assert all(one["status"]["conditions"][-1]["type"] == "Complete" for one in jobs)
    links = trained.artifacts["links"].content.decode()
    assert f"- TrainJob: `kubectl -n {namespace} describe trainjob {jobs[0]['metadata']['name']}`" in links
    assert re.search(r"\[training run in MLflow\]\(https://mlflow.example.org/#/experiments/\d+/runs/[0-9a-f]{32}\)", links), (
        links
    )
    assert "node 0 | nano: " in trained.logs, trained.logs


def test_evaluate_judges_on_every_benchmark(judged):
    for name, ran in judged.items():
        result = json.loads(ran.artifacts["result"].content)
        assert (result["name"], ran.artifacts["metrics"].metadata["questions"]) == (name, result["questions"])
        assert 0 <= result["score"] <= 1


def test_report_and_register_make_a_candidate_with_its_page(reported, registered, checked):
    assert reported.artifacts["page"].content.startswith(b"<!doctype html>")
    assert set(reported.artifacts["metrics"].metadata) >= {"cups-held-out", "named-val"}
    release = json.loads(registered.artifacts["release"].content)
    assert release["name"] == checked.parameters["registered_name"]
    assert release["aliases"] == ["candidate"]
    assert (release["version"], registered.parameters["Output"]) == ("1", "1")
    page = f"[version](https://mlflow.example.org/#/models/{release['name']}/versions/1)"
    assert page in registered.artifacts["links"].content.decode()
    assert len(release["tags"]["sphinx_x.git_sha"].removesuffix("-changed")) == 40  # from the image


def test_promote_makes_a_champion_and_finish_closes_the_run(launcher, registered, checked):
    promoted = launcher.run("promote", {"registered_name": checked.parameters["registered_name"], "version": "1"})
    assert promoted.parameters["Output"] == "1"
    status = {"state": "COMPLETE", "pipelineJobResourceName": "workflow-x", "pipelineTaskName": "exit-handler-1", "error": {}}
    assert launcher.run("finish", {"run_id": launcher.run_id, "status": status}).parameters["Output"] == "FINISHED"


def test_the_next_run_finds_nothing_new_and_reuses_the_training(launcher, prepared, trained, registered, checked, merged):
    inputs = {name: checked.parameters[name] for name in ("registered_name", "store_uri", "base_uri", "base_digest")}
    chosen = {"variant": "nano", "start_from": "champion", "when_unchanged": "stop"}
    again = launcher.run("prepare", {"corpus_uri": merged.parameters["Output"], **inputs, **chosen}, item="again")
    assert again.parameters["go_on"] == "no"
    assert b"Nothing new" in again.artifacts["note"].content
