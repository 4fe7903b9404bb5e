"""TrainJobs on real controllers: how the launcher makes, adopts, follows and explains them. `test_training.py` trains a real model."""

import json
from pathlib import Path

import pytest

from components.shared.kubernetes_client import KubernetesError, path_of
from components.train.submit import refuse_second_writer, submit
from components.train.trainjob import NodeWishes
from model.errors import TrainError
from tests.cluster.support import get, kubectl, wait_for
from tests.cluster.trainjobs import SECONDS, Story, delete, pods_of, trainjob, wish

pytestmark = pytest.mark.cluster


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
