"""A run's tasks as people know them, out of the list of workflow nodes that Kubeflow's API gives."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta

import kfp_server_api as api
import pytest

from pipelines.cluster.tasks import state_of, tasks_of
from pipelines.cluster.workflow import nodes_of

START = datetime(2026, 11, 25, tzinfo=UTC)


def node(name: str, state: str | None, begins: int, ends: int | None = None, children: tuple[str, ...] = ()):
    return api.V2beta1PipelineTaskDetail(
        display_name=name,
        state=state,
        start_time=START + timedelta(seconds=begins),
        end_time=None if ends is None else START + timedelta(seconds=ends),
        child_tasks=[api.PipelineTaskDetailChildTask(pod_name=child) for child in children],
    )


def run_of(state: str, nodes: list, history: tuple[str, ...] = ()):
    return api.V2beta1Run(
        state=state,
        run_details=api.V2beta1RunDetails(task_details=nodes),
        state_history=[api.V2beta1RuntimeStatus(state=one) for one in history],
    )


# As Kubeflow Pipelines 2.17.0 lists a task, and a loop of two iterations.
NODES = [
    node("lab-f2znt", "RUNNING", 0, None, ("lab-f2znt-1747",)),
    node("lab-f2znt(0)", "RUNNING", 0, None, ("lab-f2znt-4228",)),
    node("root", None, 0, 9),
    node("root-driver", "SUCCEEDED", 0, 9),
    node("root-driver(0)", "SUCCEEDED", 0, 9),
    node("exit-handler-1", "RUNNING", 9),
    node("validate", "SUCCEEDED", 10, 16),
    node("validate(0)", "SUCCEEDED", 10, 16),
    node("validate-driver", "SUCCEEDED", 9, 10),
    node("executor", "SUCCEEDED", 10, 16),
    node("executor(0)", "SUCCEEDED", 10, 16),
    node("for-loop-2", "RUNNING", 16),
    node("iteration-iterations(0:0)", "RUNNING", 16),
    node("iteration-iterations(1:1)(0)", "RUNNING", 16),
    node("iteration-item", "RUNNING", 16),
    node("iteration-item-driver", "RUNNING", 16),
    node("unify", "SUCCEEDED", 20, 30),
    node("unify", "RUNNING", 21),
    node("unify(0)", "RUNNING", 21),
    node("condition-branches-3", "SKIPPED", 21),
    api.V2beta1PipelineTaskDetail(),
]


def test_machinery_is_left_out_and_repetitions_are_counted():
    validate, unify = tasks_of(run_of("RUNNING", NODES), START + timedelta(seconds=50))
    assert (validate.name, validate.state, validate.count, validate.seconds) == ("validate", "done", "", 6)
    assert (unify.name, unify.state, unify.count, unify.seconds) == ("unify", "running", "1 of 2", 30)


def test_one_failed_repetition_fails_the_task():
    nodes = [*NODES, node("unify", "FAILED", 22, 40)]
    assert [task.state for task in tasks_of(run_of("FAILED", nodes))] == ["done", "failed"]


def test_a_task_that_the_lagging_list_calls_running_ends_with_its_run():
    assert [task.state for task in tasks_of(run_of("SUCCEEDED", NODES))] == ["done", "done"]


@pytest.mark.parametrize(
    ("state", "history", "word"),
    [
        ("RUNNING", ("PENDING", "RUNNING"), "running"),
        ("CANCELING", ("PENDING", "RUNNING", "CANCELING"), "stopping"),
        ("FAILED", ("PENDING", "RUNNING", "CANCELING", "FAILED"), "stopped"),
        ("FAILED", ("PENDING", "RUNNING", "FAILED"), "failed"),
        ("SUCCEEDED", ("PENDING", "RUNNING", "CANCELING", "SUCCEEDED"), "done"),
        (None, (), "waiting"),
    ],
)
def test_a_stopped_run_is_told_from_a_failed_one(state, history, word):
    run = run_of(state, [], history)
    assert state_of(run) == word
    assert tasks_of(run) == []


def test_nodes_that_argo_compressed_are_read_as_the_plain_ones():
    nodes = {
        "lab-f2znt-1": {"displayName": "train", "phase": "Succeeded", "startedAt": "2026-11-25T00:00:10Z", "finishedAt": "2026-11-25T00:01:10Z"},
        "lab-f2znt-2": {"displayName": "register", "phase": "Omitted"},
        "lab-f2znt-3": {"displayName": "finish", "phase": "Running", "startedAt": "2026-11-25T00:02:00Z", "finishedAt": None},
    }  # fmt: skip
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    plain = nodes_of({"status": {"nodes": nodes}})
    assert nodes_of({"status": {"compressedNodes": packed}}) == plain
    told = tasks_of(run_of("RUNNING", NODES), datetime(2026, 11, 25, 0, 2, 5, tzinfo=UTC), plain)
    assert [(task.name, task.state, task.seconds) for task in told] == [("train", "done", 60), ("finish", "running", 5)]
    assert nodes_of({"status": {}}) == []
