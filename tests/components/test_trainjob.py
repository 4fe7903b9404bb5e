"""The TrainJob's builder against a golden file, and what it must never do: carry a secret, name the launcher's own fields."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.shared import platform
from components.train.launch import deadline_seconds, environment_for_nodes
from components.train.trainjob import NodeWishes, Owner, TrainJobWish, build_trainjob, label_value, mlflow_environment
from model.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden" / "trainjob.json"
"""Looked at by a person; a change of the builder changes it by hand."""

SECRET = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "team-s3", "key": "secret"}}}


def wish(**changes) -> TrainJobWish:
    fields = {
        "namespace": "kubeflow",
        "variant": "plus",
        "pipeline_run": "0d8a4b0e-2f5c-4c57-a6a8-5f0b0f6f6a11",
        "run_digest": "c0ffee" + 58 * "0",
        "spec_uri": "s3://bucket/runs/c0ffee000000/jobs/x.json",
        "num_nodes": 4,
        "processes_per_node": 8,
        "device": "gpu",
        "deadline_seconds": 1209600,
    }
    return TrainJobWish(**{**fields, **changes})


FULL = {
    "queue": "team-a",
    "environment": {"MLFLOW_TRACKING_URI": "http://mlflow.kubeflow.svc:5000"},
    "owner": Owner(name="sphinx-x-train-abcde", uid="11111111-2222-3333-4444-555555555555"),
    "wishes": NodeWishes(
        resources={"limits": {"memory": "900Gi", "rdma/hca": 8}, "requests": {"cpu": "64"}},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
        node_selector={"node.kubernetes.io/instance-type": "p5.48xlarge"},
        env=[{"name": "NCCL_DEBUG", "value": "WARN"}, SECRET],
    ),
}


def test_a_full_wish_makes_the_golden_object():
    assert build_trainjob(wish(**FULL)) == json.loads(GOLDEN.read_text())


def test_a_node_without_owner_has_a_heartbeat_and_one_with_owner_has_none():
    assert build_trainjob(wish(heartbeat="2026-01-01T00:00:00+00:00"))["metadata"]["annotations"] == {
        "sphinx-x/heartbeat": "2026-01-01T00:00:00+00:00"
    }
    assert "annotations" not in build_trainjob(wish(**FULL))["metadata"]


def test_the_same_wish_has_the_same_name_and_another_run_another():
    assert wish().name == wish(num_nodes=1).name
    assert wish().name != wish(pipeline_run="other").name
    assert wish().name.startswith("sphinx-x-plus-")
    # JobSet makes <name>-node-0-0-<5> out of it, which must be a host name.
    assert len(wish(variant="plus-2k").name) + len("-node-0-1023-abcde") <= 63


@pytest.mark.parametrize(
    ("device", "resources", "expected"),
    [
        ("gpu", {}, {"limits": {"nvidia.com/gpu": "8"}}),
        ("cpu", {}, None),
        ("cpu", {"requests": {"cpu": 2}}, {"requests": {"cpu": "2"}}),
        ("gpu", {"limits": {"nvidia.com/gpu": "4", "memory": "1Gi"}}, {"limits": {"nvidia.com/gpu": "4", "memory": "1Gi"}}),
    ],
)
def test_what_the_task_asks_for_wins_over_a_gpu_for_each_process(device, resources, expected):
    made = build_trainjob(wish(device=device, wishes=NodeWishes(resources=resources)))
    assert made["spec"]["trainer"].get("resourcesPerNode") == expected


def test_a_nodes_environment_holds_references_but_none_to_the_launchers_own_fields():
    env = [
        SECRET,
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PET_NNODES", "value": "9"},
        {"name": "EMPTY"},
        {"name": "MLFLOW_TRACKING_URI", "value": "http://the.tasks.own"},
    ]
    made = build_trainjob(
        wish(device="cpu", environment={"MLFLOW_TRACKING_URI": "http://launcher"}, wishes=NodeWishes(env=env))
    )
    found = {one["name"]: one for one in made["spec"]["trainer"]["env"]}
    assert found["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert found["MLFLOW_TRACKING_URI"]["value"] == "http://the.tasks.own"
    assert found["EMPTY"] == {"name": "EMPTY"}  # no value is the empty one, as Kueue would write it
    assert found["DS_ACCELERATOR"]["value"] == "cpu"
    assert {"POD", "PET_NNODES"} & set(found) == set()


def test_on_a_laptop_kubeflows_task_config_is_all_none():
    empty = SimpleNamespace(resources=None, tolerations=None, node_selector=None, env=None, affinity=None)
    assert NodeWishes.of_task(empty) == NodeWishes() == NodeWishes.of_task(None)


def test_mlflow_is_taken_from_the_plugins_configuration_where_only_that_is_there():
    plugin = {"endpoint": "http://mlflow:5000", "parentRunId": "abc", "experimentId": "7", "authType": "kubernetes"}
    assert mlflow_environment({"KFP_MLFLOW_CONFIG": json.dumps(plugin)}) == {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_ID": "7",
    }
    given = {
        "MLFLOW_TRACKING_URI": "http://mine",
        "MLFLOW_RUN_ID": "r",
        "MLFLOW_TRACKING_AUTH": "kubernetes",
        "MLFLOW_TRACKING_PASSWORD": "p",
    }
    assert mlflow_environment({**given, "KFP_MLFLOW_CONFIG": "not json"}) == {"MLFLOW_TRACKING_URI": "http://mine"}


def test_nodes_are_given_neither_credentials_nor_what_only_a_laptop_reaches(monkeypatch):
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_WORKSPACE", "KFP_MLFLOW_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow:5000/path")
    assert environment_for_nodes() == {"MLFLOW_TRACKING_URI": "http://mlflow:5000/path"}
    for here in ("sqlite:////home/me/mlflow.db", "http://localhost:5000", "http://127.0.0.1:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", here)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "3")
        assert environment_for_nodes() == {}


@pytest.mark.parametrize(("text", "seconds"), [("", 1209600), ("1.5", 5400), ("336", 1209600)])
def test_a_deadline_is_always_set(monkeypatch, text, seconds):
    monkeypatch.setenv(platform.DEADLINE_HOURS, text)
    assert deadline_seconds() == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(platform.DEADLINE_HOURS, text)
    with pytest.raises(ConfigError, match="number of hours above zero"):
        deadline_seconds()


@pytest.mark.parametrize(
    ("text", "label"), [("a b/c", "a-b-c"), ("-x-", "x"), ("ä" * 3, ""), ("r" * 80, "r" * 63), ("2026.11_1", "2026.11_1")]
)
def test_any_text_becomes_a_valid_label(text, label):
    assert label_value(text) == label
