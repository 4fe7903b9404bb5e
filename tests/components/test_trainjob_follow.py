"""Following a TrainJob where the API server does what a real one does not do on demand: forget, fall silent, break off, refuse.

A few lines of HTTP stand in for it; all else about following is tested on real controllers (`tests/cluster/test_trainjob.py`).
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from components.shared.kubernetes_client import KubernetesError, path_of, refusal
from components.train import logs, watch
from components.train.follow import Follower, progress_text
from components.train.logs import LogTail, Position
from components.train.watch import Watched
from tests.support.api_server import reply, server


def begin(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()


def thing(name: str, version: int, **fields) -> dict:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}, **fields}


def event(kind: str, one: dict) -> bytes:
    return json.dumps({"type": kind, "object": one}).encode() + b"\n"


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def names(watched: Watched) -> set[str]:
    return {one["metadata"]["name"] for one in watched.objects()}


def test_a_watch_goes_on_where_it_ended_and_lists_again_where_the_server_has_forgotten():
    asked: list[str] = []

    def answer(handler, _path, query):
        if "watch" not in query:
            asked.append("list")
            again = asked.count("list") > 1
            reply(
                handler, {"metadata": {"resourceVersion": "90" if again else "10"}, "items": [thing("b" if again else "a", 5)]}
            )
            return
        asked.append(query["resourceVersion"])
        begin(handler)
        if query["resourceVersion"] == "10":
            handler.wfile.write(event("ADDED", thing("c", 11)) + event("BOOKMARK", thing("", 12)))  # and the server ends it
        elif query["resourceVersion"] == "12":
            handler.wfile.write(event("ERROR", {"code": 410, "message": "too old resource version"}))
        else:
            handler.wfile.write(event("DELETED", thing("b", 91)))
            handler.wfile.flush()
            time.sleep(1)

    with server(answer) as kube, Watched(kube, path_of("trainjobs", "ns"), lambda: None) as watched:
        until(lambda: "90" in asked and not watched.objects())
        assert asked[:5] == ["list", "10", "12", "list", "90"]
        assert [one["metadata"]["name"] for one in watched.gone()] == ["b"]
        assert watched.failure is None


def test_a_watch_that_falls_silent_is_made_anew(monkeypatch):
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.3)
    lists: list[int] = []

    def answer(handler, _path, query):
        if "watch" in query:
            begin(handler)
            handler.wfile.flush()
            time.sleep(5)  # a connection whose other end is gone says nothing, for ever
            return
        lists.append(1)
        reply(handler, {"metadata": {"resourceVersion": "1"}, "items": [thing(f"seen-{len(lists)}", 1)]})

    with server(answer) as kube, Watched(kube, path_of("pods", "ns"), lambda: None) as watched:
        until(lambda: names(watched) == {"seen-2"})


def test_half_a_line_and_a_refusal_are_failures_that_pass(monkeypatch):
    turns: list[int] = []

    def answer(handler, _path, query):
        if "watch" in query:
            begin(handler)
            handler.wfile.write(b'{"type": "ADDED", "obj')
            return
        turns.append(1)
        if len(turns) == 1:
            reply(handler, {"message": "etcd is electing"}, 500)
        else:
            reply(handler, {"metadata": {"resourceVersion": "1"}, "items": []})

    failures = []
    with server(answer) as kube:
        monkeypatch.setattr(watch, "LONGEST_WAIT_SECONDS", 0.1)
        watched = Watched(kube, path_of("pods", "ns"), lambda: failures.append(str(watched.failure or "")))
        with watched:
            until(lambda: any("broke off" in failure for failure in failures))


LOG = [
    "2026-06-01T00:00:01Z one",
    "2026-06-01T00:00:01.5Z two",
    "2026-06-01T00:00:01.50Z two and a half",
    "2026-06-01T00:00:03.000000001Z three",
]


def test_no_line_of_a_log_is_passed_on_twice_and_none_is_lost_over_connections_and_restarts(monkeypatch):
    monkeypatch.setattr(logs, "AGAIN_SECONDS", 0.01)
    pods = [started_pod("p-1", "2026-06-01T00:00:00Z")]
    served: list[dict] = []

    def answer(handler, path, query):
        served.append({"pod": path.split("/")[-2], **query})
        begin(handler)
        if "p-2" in path:
            handler.wfile.write(b"2026-06-01T00:00:09Z anew\n")
            return
        # The server rounds to whole seconds and breaks off after two lines, then after all.
        lines = LOG[:2] if len(served) == 1 else LOG
        handler.wfile.write("\n".join(lines).encode() + b"\n")

    told: list[str] = []
    with server(answer) as kube, LogTail(kube, "ns", lambda: list(pods), told.append):
        until(lambda: "three" in told)
        pods.append(started_pod("p-2", "2026-06-01T00:00:05Z"))
        until(lambda: "anew" in told)
    assert told == ["one", "two", "two and a half", "three", "anew"]
    assert served[1]["sinceTime"] == "2026-06-01T00:00:01.5Z"
    assert "sinceTime" not in served[0]


def started_pod(name: str, created: str) -> dict:
    labels = {"batch.kubernetes.io/job-completion-index": "0"}
    state = {"state": {"running": {}}}
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "labels": labels},
        "status": {"containerStatuses": [state]},
    }


def test_equal_lines_of_different_times_are_both_kept_and_words_without_time_pass():
    position = Position()
    lines = ["2026-06-01T00:00:01.1Z x", "2026-06-01T00:00:01.2Z x", "2026-06-01T00:00:01.2Z x", "unable to retrieve logs"]
    assert [position.advance(line) for line in lines] == ["x", "x", None, "unable to retrieve logs"]


def test_a_refused_watch_ends_the_following_with_the_remedy():
    forbidden = 'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:ns:x" cannot watch resource "trainjobs" in API group'

    def answer(handler, _path, _query):
        reply(handler, {"message": forbidden}, 403)

    job = {"metadata": {"name": "job", "namespace": "ns", "uid": "u"}, "spec": {}}
    with server(answer) as kube, pytest.raises(KubernetesError, match="may not watch trainjobs; install the chart"):
        Follower(kube, job, lambda _: "", lambda _: None).to_the_end()


def test_an_api_that_does_not_answer_is_waited_for_and_said_once(monkeypatch):
    from components.train import follow

    monkeypatch.setattr(follow, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watch, "LONGEST_WAIT_SECONDS", 0.1)
    is_back = threading.Event()

    def answer(handler, path, query):
        if not is_back.is_set():
            reply(handler, {"message": "no leader"}, 503)
        elif "watch" in query:
            begin(handler)
            time.sleep(2)
        else:
            done = {"conditions": [{"type": "Complete", "status": "True"}]}
            items = [thing("job", 1, spec={}, status=done)] if path.endswith("trainjobs") else []
            reply(handler, {"metadata": {"resourceVersion": "1"}, "items": items})

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        is_back.set()

    job = {"metadata": {"name": "job", "namespace": "ns", "uid": "job"}, "spec": {}}
    with server(answer) as kube:
        Follower(kube, job, lambda _: "", say).to_the_end()
    assert len(said) == 2
    assert said[0].endswith("Training goes on meanwhile.")
    assert said[1] == "done"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ({}, ""),
        ({"progressPercentage": 0}, "0 %"),
        (
            {"progressPercentage": 42, "estimatedRemainingSeconds": 7500, "metrics": [{"name": "loss", "value": "2.31"}]},
            "42 %, loss 2.31, 2:05 h left",
        ),
    ],
)
def test_progress_is_a_line(status, line):
    assert progress_text(status) == line


def test_refusals_name_the_verb_and_the_remedy():
    said = 'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:kubeflow:pipeline-runner" cannot create resource "trainjobs" in API group'
    assert str(refusal("POST", path_of("trainjobs", "kubeflow"), 403, said)) == (
        "cannot create trainjobs in kubeflow: system:serviceaccount:kubeflow:pipeline-runner may not create trainjobs; install the chart in "
        "this namespace, or give it the verb in a Role."
    )
    assert "install Kubeflow Trainer" in str(refusal("POST", "/x", 404, "the server could not find the requested resource"))
    assert "log in again" in str(refusal("GET", "/x", 401, "Unauthorized"))


def test_a_question_is_asked_again_and_a_command_is_not(monkeypatch):
    from components.shared import kubernetes_client

    monkeypatch.setattr(kubernetes_client.time, "sleep", lambda _: None)
    asked: list[str] = []

    def answer(handler, _path, _query):
        asked.append(handler.command)
        reply(handler, {"message": "busy"}, 503)

    with server(answer) as kube:
        for ask in (lambda: kube.get("/x"), lambda: kube.create("/x", {}), lambda: kube.delete("/x")):
            with pytest.raises(KubernetesError, match="503: busy"):
                ask()
    assert asked == ["GET", "GET", "GET", "POST", "DELETE"]
    with pytest.raises(KubernetesError, match="does not answer"):
        kube.create("/x", {})
