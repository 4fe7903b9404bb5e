"""Kueue decides when a TrainJob starts: all of it at once, when there is room. Runs on clusters that have Kueue.

Each test has a queue of its own with room for one TrainJob of two nodes, or for none.
"""

import secrets
import time
from collections.abc import Iterator

import pytest

from components.shared.kubernetes_client import path_of
from components.train.submit import submit
from components.train.trainjob import NodeWishes
from pipelines.cluster.checks import queue as check_queue
from pipelines.cluster.doctor import Patient
from tests.cluster.support import OPS_IMAGE, apply, get, kubectl, wait_for
from tests.cluster.train_runtime import train_runtime
from tests.cluster.trainjobs import SECONDS, Story, delete, pods_of, trainjob, wish
from tests.pipelines.cluster.deployments import deployment

pytestmark = pytest.mark.cluster

NODE_CPUS = "100m"
DEADLINE_SECONDS = 30


@pytest.fixture(scope="module", autouse=True)
def kueue_version() -> str:
    """Version of Kueue's API that the cluster serves."""
    served = [one for one in kubectl("api-versions").split() if one.startswith("kueue.x-k8s.io/")]
    if not served:
        pytest.skip("the cluster has no Kueue; install it with the framework trainer.kubeflow.org/trainjob to run these")
    return max(served)


@pytest.fixture(scope="module")
def runtime(namespace: str) -> None:
    resources = {"requests": {"cpu": NODE_CPUS, "memory": "32Mi"}}
    apply(namespace, train_runtime("nano", OPS_IMAGE, grace_seconds=1, resources=resources))


@pytest.fixture
def queue(namespace: str, kueue_version: str) -> Iterator[str]:
    """A LocalQueue, and a ClusterQueue and flavour of its name, with room for two nodes."""
    name = f"test-{secrets.token_hex(4)}"
    in_group = {"apiVersion": kueue_version}
    quotas = [{"name": "cpu", "nominalQuota": "200m"}, {"name": "memory", "nominalQuota": "1Gi"}]
    flavours = [{"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": quotas}]}]
    cluster_queue = {"namespaceSelector": {}, "resourceGroups": flavours}
    made = (
        {**in_group, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {**in_group, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": cluster_queue},
        {**in_group, "kind": "LocalQueue", "metadata": {"name": name}, "spec": {"clusterQueue": name}},
    )
    apply(namespace, *made)
    yield name
    for one in reversed(made):
        kubectl("-n", namespace, "delete", one["kind"].lower(), name, "--ignore-not-found", "--wait=false")


def test_a_trainjob_waits_in_the_queue_until_there_is_room_for_all_of_it(api, namespace, runtime, queue):
    first, _ = submit(api, trainjob(wish(namespace, queue=queue), "time.sleep(600)"))
    Story(api, first).says("node 0 | begin 0 0")

    # Spelt as a person may on the Kubeflow task, and not as Kueue writes them back.
    spelt = NodeWishes(resources={"requests": {"memory": "32768Ki", "cpu": "0.1"}}, env=[{"name": "EMPTY", "value": ""}])
    asked = wish(namespace, queue=queue, deadline_seconds=DEADLINE_SECONDS, wishes=spelt)
    second, _ = submit(api, trainjob(asked, "time.sleep(3)"))
    story = Story(api, second)
    story.says(f"queued in {queue}")
    time.sleep(DEADLINE_SECONDS + 10)  # waiting does not count towards the deadline
    assert pods_of(namespace, asked.name) == []
    assert not story.is_over, story.failure

    delete(namespace, first["metadata"]["name"])
    assert story.end() == ""
    assert "running on 2 nodes" in story.lines
    delete(namespace, asked.name)


def test_a_node_that_fails_restarts_under_kueue_and_the_room_is_given_back_at_the_end(api, namespace, runtime, queue):
    script = "time.sleep(2)\nif attempt == 0 and rank == 1: leave(1, 'the loader lost its disk.')\ntime.sleep(3)"
    for _ in range(2):  # the second finds the room that the first has left
        made, _ = submit(api, trainjob(wish(namespace, queue=queue), script))
        story = Story(api, made)
        assert story.end() == ""
        assert story.says("restart 1") == "restart 1 (counted 1 of 2): the loader lost its disk."
        delete(namespace, made["metadata"]["name"])


def test_one_that_is_deleted_while_it_waits_leaves_nothing_behind(api, namespace, runtime, queue):
    asked = wish(namespace, queue=queue, num_nodes=3)
    made, _ = submit(api, trainjob(asked, "time.sleep(600)"))
    story = Story(api, made)
    story.says(f"queued in {queue}")
    api.delete(path_of("trainjobs", namespace, asked.name))
    assert "deleted" in story.end()
    wait_for(lambda: not _workloads_of(namespace, asked.name), SECONDS, f"the workload of {asked.name} to go")
    assert get(namespace, "trainjob", asked.name) is None


def test_doctor_finds_the_queue(namespace, queue):
    def findings(name: str) -> list[tuple[str, str]]:
        patient = Patient.of(deployment(namespace=namespace), "", "", False)
        patient.settings["SPHINX_X_QUEUE"] = name
        return [(one.verdict, one.says) for one in check_queue(patient)]

    assert findings(queue) == [("ok", f"LocalQueue {queue}")]
    ((verdict, says),) = findings("elsewhere")
    assert verdict == "missing"
    assert says == f"there is no LocalQueue elsewhere in {namespace}; create it, or TrainJobs wait for ever."


def _workloads_of(namespace: str, trainjob_name: str) -> list[str]:
    return [name for name in kubectl("-n", namespace, "get", "workloads", "-o", "name").split() if trainjob_name in name]
