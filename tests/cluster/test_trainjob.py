"""TrainJobs on real controllers: how the launcher makes, adopts, follows and explains them, and how the reaper takes them away.

Nodes run a few lines of Python here, so that every way to end comes on demand; `test_training.py` trains a real model.
"""

import json
import secrets
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.shared.kubernetes_client import Kubernetes, KubernetesError, connect, path_of
from components.train.follow import Follower
from components.train.launch import Stopped, _cleaned_up
from components.train.reaper import Reaper
from components.train.submit import refuse_second_writer, submit
from components.train.trainjob import HEARTBEAT, NodeWishes, Owner, TrainJobWish, build_trainjob
from model.errors import TrainError
from tests.cluster.support import OPS_IMAGE, apply, get, kubectl, wait_for
from tests.cluster.train_runtime import train_runtime

pytestmark = pytest.mark.cluster

SECONDS = 120
"""Longest time for a handful of pods to come and go on a busy machine."""

PRELUDE = """
import os, signal, sys, time
rank, attempt = int(os.environ["PET_NODE_RANK"]), int(os.environ["SPHINX_X_ATTEMPT"])
def leave(code, sentence=""):
    if sentence: open("/dev/termination-log", "w").write(sentence)
    sys.exit(code)
def stopped(*_): leave(143, "asked to stop")
signal.signal(signal.SIGTERM, stopped)
print("begin", attempt, rank, flush=True)
"""


@pytest.fixture(scope="module")
def api() -> Kubernetes:
    return connect()


@pytest.fixture(scope="module")
def runtime(namespace: str) -> str:
    apply(namespace, train_runtime("nano", OPS_IMAGE, grace_seconds=5))
    return "nano"


def wish(namespace: str, **changes) -> TrainJobWish:
    fields = {
        "namespace": namespace,
        "variant": "nano",
        "pipeline_run": secrets.token_hex(4),
        "run_digest": secrets.token_hex(32),
        "spec_uri": "s3://bucket/runs/x/jobs/x.json",
        "num_nodes": 2,
        "processes_per_node": 1,
        "device": "cpu",
        "deadline_seconds": 600,
        "heartbeat": datetime.now(UTC).isoformat(),
    }
    return TrainJobWish(**{**fields, **changes})


def trainjob(asked: TrainJobWish, script: str) -> dict:
    """What the launcher would make, but with a few lines of Python on every node."""
    made = build_trainjob(asked)
    made["spec"]["trainer"] |= {"command": ["python3", "-c", PRELUDE + script], "args": []}
    return made


class Story:
    """A follower in the background: the lines it says, and how it ends."""

    def __init__(self, api: Kubernetes, made: dict, stored: str = "") -> None:
        self.lines: list[str] = []
        self.failure: Exception | None = None
        self.is_over = False
        self._follower = Follower(api, made, lambda _attempt: stored, self.lines.append)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            self._follower.to_the_end()
        except Exception as error:
            self.failure = error
        self.is_over = True

    def says(self, words: str, seconds: float = SECONDS) -> str:
        def said() -> str:
            assert not (self.is_over and self.failure and words not in "\n".join(self.lines)), (self.failure, self.lines)
            return next((line for line in self.lines if words in line), "")

        try:
            return wait_for(said, seconds, f"the line {words!r}", every=0.1)
        except TimeoutError as error:
            raise AssertionError(self.lines) from error

    def end(self, seconds: float = SECONDS) -> str:
        """Waits for the end; the failure's sentence, empty after success."""
        try:
            wait_for(lambda: self.is_over, seconds, "the end of the story", every=0.1)
        except TimeoutError as error:
            raise AssertionError(self.lines) from error
        assert self.failure is None or isinstance(self.failure, TrainError | KubernetesError), repr(self.failure)
        return str(self.failure or "")


def pods_of(namespace: str, name: str) -> list[str]:
    selector = f"jobset.sigs.k8s.io/jobset-name={name}"
    return kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "name").split()


def delete(namespace: str, name: str) -> None:
    """Nothing of it may be left, and nothing of it may slow down the next test."""
    kubectl("-n", namespace, "delete", "trainjob", name, "--wait=true", "--ignore-not-found")
    wait_for(lambda: not pods_of(namespace, name), SECONDS, f"the pods of {name} to go")


def test_a_trainjob_runs_to_its_end_and_its_first_nodes_log_is_passed_on(api, namespace, runtime):
    made, adopted = submit(api, trainjob(wish(namespace), "time.sleep(3); print('end', rank, flush=True)"))
    assert not adopted
    story = Story(api, made)
    assert story.end() == ""
    assert "running on 2 nodes" in story.lines
    assert [line for line in story.lines if line.startswith("node 0")] == ["node 0 | begin 0 0", "node 0 | end 0"]
    assert story.lines[-1] == "done" or "done" in story.lines
    delete(namespace, made["metadata"]["name"])


def test_a_second_launcher_adopts_what_the_first_made_and_never_another_runs(api, namespace, runtime):
    asked = wish(namespace)
    made, _ = submit(api, trainjob(asked, "time.sleep(600)"))
    again, adopted = submit(api, trainjob(asked, "time.sleep(600)"))
    assert adopted
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(TrainError, match=f"{asked.pipeline_run} trains the very same already"):
        refuse_second_writer(api, wish(namespace, run_digest=asked.run_digest))
    foreign = trainjob(asked, "")
    foreign["metadata"]["labels"]["sphinx-x/pipeline-run"] = "another"
    with pytest.raises(TrainError, match="name of another TrainJob"):
        submit(api, foreign)
    delete(namespace, asked.name)


def test_a_crash_restarts_all_nodes_and_says_why(api, namespace, runtime):
    script = "time.sleep(2)\nif attempt == 0 and rank == 1: leave(1, 'the loader lost its disk.')\ntime.sleep(3)"
    made, _ = submit(api, trainjob(wish(namespace), script))
    story = Story(api, made)
    assert story.end() == ""
    assert story.says("restart 1") == "restart 1 (counted 1 of 2): the loader lost its disk."
    assert story.says("node 0 | begin 1 0")
    delete(namespace, made["metadata"]["name"])


def test_a_deleted_pod_and_an_eviction_cost_no_restart_of_the_budget(api, namespace, runtime):
    made, _ = submit(api, trainjob(wish(namespace), "time.sleep(15 if attempt > 1 else 600)"))
    name = made["metadata"]["name"]
    story = Story(api, made)
    story.says("node 0 | begin 0 0")
    kubectl("-n", namespace, "delete", "--wait=false", pods_of(namespace, name)[1])
    story.says("node 0 | begin 1 0")
    victim = pods_of(namespace, name)[0].removeprefix("pod/")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": victim, "namespace": namespace}}
    kubectl("create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{victim}/eviction", "-f", "-", stdin=eviction)
    assert story.end() == ""
    restarts = [line for line in story.lines if line.startswith("restart")]
    assert len(restarts) == 2, story.lines
    assert all("counted 0 of 2" in line for line in restarts)
    delete(namespace, name)


def test_a_final_failure_is_not_tried_again_and_its_sentence_is_the_launchers(api, namespace, runtime):
    script = "time.sleep(1)\nif rank == 1: leave(64, 'packs.packs_multiple is not divided by 3 ranks.')\ntime.sleep(600)"
    asked = wish(namespace)
    made, _ = submit(api, trainjob(asked, script))
    story = Story(api, made)
    assert story.end() == "packs.packs_multiple is not divided by 3 ranks."
    assert not [line for line in story.lines if line.startswith("restart")]
    assert get(namespace, "jobset", made["metadata"]["name"])["status"].get("restarts", 0) == 0
    # A failed TrainJob makes way for the next try of the same pipeline run.
    again, adopted = submit(api, trainjob(asked, "time.sleep(1)"))
    assert not adopted
    assert Story(api, again).end() == ""
    delete(namespace, made["metadata"]["name"])


def test_a_deadline_is_said_with_its_hours(api, namespace, runtime):
    made, _ = submit(api, trainjob(wish(namespace, deadline_seconds=9), "time.sleep(600)"))
    assert "its limit of 0.0025 hours" in Story(api, made).end()
    delete(namespace, made["metadata"]["name"])


def test_restarts_that_are_used_up_end_with_the_last_reason(api, namespace, runtime):
    made, _ = submit(api, trainjob(wish(namespace, num_nodes=1), "leave(1, f'disk {attempt} is full.')"))
    assert Story(api, made).end() == "training was restarted 2 times and failed again: disk 2 is full."
    delete(namespace, made["metadata"]["name"])


def test_nodes_that_find_no_place_say_what_the_scheduler_lacks(api, namespace, runtime):
    made, _ = submit(api, trainjob(wish(namespace, device="gpu", processes_per_node=8), ""))
    story = Story(api, made)
    line = story.says("Insufficient nvidia.com/gpu")
    assert line.startswith("waiting for nodes, 0 of 2 run: 0/")
    delete(namespace, made["metadata"]["name"])
    assert "was deleted while it ran" in story.end()


def test_a_missing_secret_is_named_while_nodes_wait(api, namespace, runtime):
    env = [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "no-such-secret", "key": "x"}}}]
    made, _ = submit(api, trainjob(wish(namespace, wishes=NodeWishes(env=env)), ""))
    story = Story(api, made)
    assert 'secret "no-such-secret" not found' in story.says("no-such-secret")
    delete(namespace, made["metadata"]["name"])
    story.end()


def test_a_suspended_trainjob_is_said_to_be_queued_and_starts_when_its_queue_lets_it(api, namespace, runtime):
    made, _ = submit(api, trainjob(wish(namespace, queue="team-a"), "time.sleep(1)"))
    story = Story(api, made)
    story.says("queued in team-a")
    assert pods_of(namespace, made["metadata"]["name"]) == []
    kubectl("-n", namespace, "patch", "trainjob", made["metadata"]["name"], "--type=merge", "-p", '{"spec":{"suspend":false}}')
    assert story.end() == ""
    delete(namespace, made["metadata"]["name"])


def test_what_was_set_on_the_task_reaches_the_nodes(api, namespace, runtime):
    wishes = NodeWishes(
        resources={"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        node_selector={"kubernetes.io/os": "linux"},
        env=[{"name": "NCCL_DEBUG", "value": "WARN"}],
    )
    made, _ = submit(api, trainjob(wish(namespace, num_nodes=1, wishes=wishes), "time.sleep(600)"))
    name = made["metadata"]["name"]
    pod = wait_for(lambda: pods_of(namespace, name), SECONDS, "a pod")[0].removeprefix("pod/")
    spec = get(namespace, "pod", pod)["spec"]
    node = spec["containers"][0]
    assert node["resources"] == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}
    assert wishes.tolerations[0] in spec["tolerations"]
    assert spec["nodeSelector"]["kubernetes.io/os"] == "linux"
    values = {one["name"]: one.get("value") for one in node["env"]}
    assert values["NCCL_DEBUG"] == "WARN"
    assert values["DS_ACCELERATOR"] == "cpu"
    assert values["PET_NPROC_PER_NODE"] == "1"
    assert (
        get(namespace, "pod", pod)["metadata"]["labels"]["sphinx-x/pipeline-run"]
        == made["metadata"]["labels"]["sphinx-x/pipeline-run"]
    )
    delete(namespace, name)


def test_a_trainjob_with_every_field_is_known_to_the_server_and_a_field_too_many_is_refused(api, namespace, runtime):
    made = json.loads((Path(__file__).parents[1] / "components/golden/trainjob.json").read_text())
    made["metadata"]["namespace"], made["spec"]["runtimeRef"]["name"] = namespace, "sphinx-x-nano"
    stored = api.create(path_of("trainjobs", namespace), made, dryRun="All")
    assert stored["spec"]["runtimePatches"][0].pop("time")  # Trainer notes when it was asked
    assert {key: stored["spec"][key] for key in made["spec"]} == made["spec"]
    made["spec"]["podTemplateOverrides"] = []
    with pytest.raises(KubernetesError, match="too old or too new.*podTemplateOverrides"):
        submit(api, made)


def test_a_missing_runtime_and_a_reserved_name_are_refused_with_the_remedy(api, namespace, runtime):
    with pytest.raises(KubernetesError, match=f"no TrainingRuntime sphinx-x-moe in namespace {namespace}; install the chart"):
        submit(api, trainjob(wish(namespace, variant="moe"), ""))
    made = trainjob(wish(namespace), "")
    made["spec"]["trainer"]["env"].append({"name": "PET_NNODES", "value": "3"})
    with pytest.raises(KubernetesError, match="refuses the TrainJob.*PET_NNODES"):
        submit(api, made)


def test_a_launcher_that_fails_leaves_no_trainjob(api, namespace, runtime):
    asked = wish(namespace)
    submit(api, trainjob(asked, "time.sleep(600)"))
    with pytest.raises(ZeroDivisionError), _cleaned_up(api, namespace, asked.name, None):
        raise ZeroDivisionError
    wait_for(lambda: not pods_of(namespace, asked.name), SECONDS, "the pods to go")
    assert get(namespace, "trainjob", asked.name) is None


def test_a_launcher_that_is_taken_away_deletes_only_what_its_run_wants_no_more(api, namespace, runtime):
    goes_on, terminated = workflow(namespace, "runs"), workflow(namespace, "stopped", activeDeadlineSeconds=0)
    for owner, stays in ((goes_on, True), (terminated, False)):
        asked = wish(namespace, owner=owner)
        submit(api, trainjob(asked, "time.sleep(600)"))
        with pytest.raises(Stopped), _cleaned_up(api, namespace, asked.name, owner):
            raise Stopped
        assert (get(namespace, "trainjob", asked.name) is not None) is stays
        delete(namespace, asked.name)


def test_a_second_try_waits_until_the_first_ones_nodes_have_saved(api, namespace, runtime):
    asked = wish(namespace)
    slow = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(4), sys.exit(143)))\ntime.sleep(600)"
    made, _ = submit(api, trainjob(asked, slow))
    Story(api, made).says("node 0 | begin 0 0")
    kubectl("-n", namespace, "delete", "trainjob", asked.name, "--wait=false")
    said: list[str] = []
    again, adopted = submit(api, trainjob(asked, "time.sleep(1)"), said.append)
    assert not adopted
    assert "of an earlier try has gone" in said[0]
    assert Story(api, again).end() == ""
    delete(namespace, asked.name)


def workflow(namespace: str, name: str, **spec) -> Owner:
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}
    apply(namespace, body)
    return Owner(name=name, uid=get(namespace, "workflow", name)["metadata"]["uid"])


def test_a_terminated_run_keeps_nothing_and_a_deleted_workflow_takes_its_trainjob_along(api, namespace, runtime):
    stays = wish(namespace, owner=workflow(namespace, "goes-on"))
    goes = wish(namespace, owner=workflow(namespace, "terminated"))
    for asked in (stays, goes):
        submit(api, trainjob(asked, "time.sleep(600)"))
    wait_for(lambda: len(pods_of(namespace, stays.name)) == len(pods_of(namespace, goes.name)) == 2, SECONDS, "the pods")
    reaper = Reaper(api, namespace)
    assert reaper.round() == []
    # Kubeflow's Terminate, and nothing else: no exit handler, no signal.
    patch = '{"spec":{"activeDeadlineSeconds":0}}'
    kubectl("-n", namespace, "patch", "workflow", "terminated", "--type=merge", "-p", patch)
    began = time.monotonic()
    assert [(one.name, one.reason) for one in reaper.round()] == [(goes.name, "its Workflow was terminated")]
    wait_for(lambda: not pods_of(namespace, goes.name), 60, "the pods to go")
    assert time.monotonic() - began < 60
    assert len(pods_of(namespace, stays.name)) == 2
    kubectl("-n", namespace, "delete", "workflow", "goes-on")
    wait_for(lambda: get(namespace, "trainjob", stays.name) is None, SECONDS, "the garbage collector")
    wait_for(lambda: not pods_of(namespace, stays.name), SECONDS, "the pods to go")


def test_the_command_that_the_chart_runs_reaps_within_a_minute_of_terminate(api, namespace, runtime):
    asked = wish(namespace, owner=workflow(namespace, "watched"))
    submit(api, trainjob(asked, "time.sleep(600)"))
    wait_for(lambda: len(pods_of(namespace, asked.name)) == 2, SECONDS, "the pods")
    command = [sys.executable, "-m", "pipelines.cli", "reap", "--watch", "--every-seconds", "5", "--namespace", namespace]
    reaper = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        kubectl("-n", namespace, "patch", "workflow", "watched", "--type=merge", "-p", '{"spec":{"activeDeadlineSeconds":0}}')
        wait_for(lambda: get(namespace, "trainjob", asked.name) is None, 60, "the reaper")
        wait_for(lambda: not pods_of(namespace, asked.name), 60, "the pods to go")
    finally:
        reaper.terminate()
    assert f"deleted TrainJob {asked.name}: its Workflow was terminated" in reaper.communicate()[0]
    once = subprocess.run(
        [*command[:4], "--namespace", namespace], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert once.stdout == f"no TrainJob of {namespace} is unwanted\n", once.stderr


def test_a_laptops_trainjob_goes_when_its_heart_has_stopped(api, namespace, runtime):
    alive, dead = wish(namespace), wish(namespace, heartbeat="2026-01-01T00:00:00+00:00")
    for asked in (alive, dead):
        submit(api, trainjob(asked, "time.sleep(600)"))
    assert get(namespace, "trainjob", alive.name)["metadata"]["annotations"][HEARTBEAT] == alive.heartbeat
    assert [one.name for one in Reaper(api, namespace).round()] == [dead.name]
    assert api.get(path_of("trainjobs", namespace, alive.name))["metadata"]["name"] == alive.name
    delete(namespace, alive.name)
