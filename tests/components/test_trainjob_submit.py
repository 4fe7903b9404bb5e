"""Making a TrainJob where the API server is not ready or refuses; adoption is tested on a real one (`tests/cluster/test_trainjob.py`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from components.shared.kubernetes_client import Kubernetes, KubernetesError
from components.train import submit as submit_module
from components.train.submit import submit
from tests.support.api_server import reply, server

JOB = {
    "metadata": {"name": "job", "namespace": "ns", "labels": {"sphinx-x/run": "c0ffee"}},
    "spec": {"runtimeRef": {"name": "sphinx-x-tiny"}},
}


@contextmanager
def creating(*answers: tuple[int, str]) -> Iterator[tuple[Kubernetes, list[str]]]:
    """A server without TrainJobs that answers one creation after the other as told, then lets one pass."""
    left, asked = list(answers), []

    def answer(handler, path, _query):
        length = int(handler.headers.get("Content-Length") or 0)
        handler.rfile.read(length)
        if handler.command == "POST":
            asked.append("POST")
            status, message = left.pop(0) if left else (201, "")
            reply(handler, {"message": message} if message else JOB, status)
        elif path.endswith("/job"):
            reply(handler, {"message": "not found"}, 404)
        else:
            reply(handler, {"items": []})

    with server(answer) as kube:
        yield kube, asked


def test_a_webhook_that_is_not_ready_is_asked_again(monkeypatch):
    monkeypatch.setattr(submit_module.time, "sleep", lambda _: None)
    not_ready = (500, 'Internal error occurred: failed calling webhook "validator.trainjob": connection refused')
    with creating(not_ready, not_ready) as (kube, asked):
        assert submit(kube, JOB) == (JOB, False)
    assert len(asked) == 3
    monkeypatch.setattr(submit_module, "RETRY_SECONDS", -1.0)
    with creating(not_ready) as (kube, asked), pytest.raises(KubernetesError, match="webhook did not answer"):
        submit(kube, JOB)


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (403, 'admission webhook "v" denied the request: spec.trainer.env: reserved', "Kubeflow Trainer refuses the TrainJob"),
        (403, 'User "x" cannot create resource "trainjobs" in API group', "x may not create trainjobs; install the chart"),
        (
            403,
            "specified trainingRuntime must be created before the TrainJob is created",
            "no TrainingRuntime sphinx-x-tiny in namespace ns",
        ),
        (400, 'strict decoding error: unknown field "spec.runtimePatches"', "too old or too new"),
        (404, "the server could not find the requested resource", "install Kubeflow Trainer"),
        (500, "etcd is on fire", "500: etcd is on fire"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(status, said, words):
    with creating((status, said)) as (kube, asked), pytest.raises(KubernetesError, match=words):
        submit(kube, JOB)
    assert asked == ["POST"]
