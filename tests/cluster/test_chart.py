"""Proof 1: the chart on a real API server, in an empty namespace under the restricted profile: install, `helm test`, upgrade, uninstall.

The tests of this file are steps of one release's life and run in their order.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from components.shared import platform
from model.variants import VARIANTS
from tests.cluster.release import READY_SECONDS, RELEASE, everything_in, helm
from tests.cluster.support import OPS_IMAGE, get, kubectl, pod, run_pod, wait_for
from tests.helm.rendering import CHART, EVERYTHING, merged

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def values(s3) -> dict[str, Any]:
    """For this cluster: its S3, our own small MLflow, no Kubeflow. The ops image stands in for the training nodes'."""
    registry, _, rest = OPS_IMAGE.rpartition("/")
    repository, _, tag = rest.partition(":")
    return {
        "images": {"registry": registry, "ops": {"repository": repository, "tag": tag}, "train": {"repository": repository, "tag": tag}},
        "store": {"uri": s3.uri()},
        "s3": {"endpointUrl": s3.endpoint_in_cluster, "region": "us-east-1", "existingSecret": {"name": "sphinx-x-s3"}},
        "mlflow": {"server": {"enabled": True, "persistence": {"keep": False, "size": "1Gi"}, "resources": {"requests": {"cpu": "50m", "memory": "512Mi"}}}},
        "kfp": {"mode": "none"},
        "pipelines": {"serviceAccount": {"create": True}},
        "monitoring": {"dashboards": {"enabled": True}},
        "networkPolicies": {"enabled": True, "s3": {"ports": [int(s3.endpoint_in_cluster.rpartition(":")[2])]}},
        "training": {"terminationGracePeriodSeconds": 2, "variants": {"nano": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}}}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def before(namespace: str, s3) -> set[str]:
    """What the namespace holds without the chart."""
    wait_for(lambda: get(namespace, "configmap", "kube-root-ca.crt"), 30, "the namespace's own ConfigMap")
    return everything_in(namespace)


@pytest.fixture(scope="module")
def release(namespace: str, before: set[str], values: dict[str, Any]) -> Iterator[str]:
    """The chart, installed and ready; uninstalled at the end whatever happens. Gives the namespace."""
    place = ("--namespace", namespace)
    try:
        helm("upgrade", "--install", RELEASE, str(CHART), *place, "--wait", "--timeout", f"{READY_SECONDS}s", values=values)
        yield namespace
    finally:
        helm("uninstall", RELEASE, *place, "--ignore-not-found", "--wait")


def trainjob(name: str, command: list[str], **metadata: Any) -> dict[str, Any]:
    """A TrainJob of two nodes on the chart's runtime for nano."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name, **metadata},
        "spec": {
            "runtimeRef": {
                "name": platform.runtime_name("nano"),
                "kind": "TrainingRuntime",
                "apiGroup": "trainer.kubeflow.org",
            },
            "trainer": {"numNodes": 2, "command": command},
        },
    }


def test_every_object_with_every_option_is_accepted_by_the_api_server(namespace, values):
    """Those whose kinds this cluster has: schemas, webhooks and the restricted profile, without making anything."""
    absent = {
        "monitoring": {"podMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}},
        "pipelines": {"serviceAccount": {"create": False, "name": "default"}},  # made things are not there in a dry run
    }
    asked = merged(EVERYTHING, merged({"images": values["images"], "store": values["store"]}, absent))
    shown = helm("template", RELEASE, str(CHART), "--namespace", namespace, "--set=trainer.check=false", values=asked).stdout
    said = kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", stdin=shown)
    for part in ("trainingruntime", "networkpolicy", "poddisruptionbudget", "deployment", "job", "pod/sphinx-x-doctor"):
        assert part in said


def test_install(release, values):
    for variant in VARIANTS:
        assert get(release, "trainingruntime", platform.runtime_name(variant))
    for name in ("sphinx-x-reaper", "sphinx-x-mlflow"):
        deployment = get(release, "deployment", name)
        assert deployment
        assert deployment["status"]["readyReplicas"] == 1
    settings = get(release, "configmap", platform.SETTINGS_CONFIG_MAP)
    assert settings
    assert settings["data"][platform.STORE] == values["store"]["uri"]


def test_the_real_trainer_runs_two_nodes_of_the_runtime(release):
    """As the launcher asks for it; the nodes may write to /tmp and /dev/shm, know their settings, their attempt and each other."""
    program = (
        "import os, pathlib; [pathlib.Path(p, 'x').write_text('x') for p in ('/tmp', '/dev/shm')];"
        "print('node', os.environ['PET_NODE_RANK'], 'of', os.environ['PET_NNODES'], 'attempt', os.environ['SPHINX_X_ATTEMPT'],"
        "os.environ['SPHINX_X_STORE'], os.environ['AWS_ACCESS_KEY_ID'] != '', flush=True); import time; time.sleep(3)"
    )
    kubectl("-n", release, "create", "-f", "-", stdin=trainjob("two-nodes", ["python", "-c", program]))

    def ended() -> str:
        conditions = (get(release, "trainjob", "two-nodes") or {}).get("status", {}).get("conditions", [])
        return next(
            (one["type"] for one in conditions if one["status"] == "True" and one["type"] in ("Complete", "Failed")), ""
        )

    assert wait_for(ended, 240, "the end of the TrainJob") == "Complete"
    logs = kubectl("-n", release, "logs", "-l", "jobset.sigs.k8s.io/jobset-name=two-nodes", "--tail=5")
    assert "node 0 of 2 attempt 0 s3://" in logs
    assert "node 1 of 2 attempt 0 s3://" in logs
    kubectl("-n", release, "delete", "trainjob", "two-nodes", "--timeout=60s")


def test_the_reaper_ends_the_training_of_a_terminated_run(release):
    """Kubeflow's Terminate sets the Workflow's deadline to zero and leaves the TrainJob running."""
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "terminated", "labels": {"workflows.argoproj.io/controller-instanceid": "nobody"}},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "suspend": {}}]},
    }
    kubectl("-n", release, "create", "-f", "-", stdin=workflow)
    made = get(release, "workflow", "terminated")
    assert made
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "terminated", "uid": made["metadata"]["uid"]}
    labels = {**platform.MANAGED_BY, platform.PIPELINE_RUN_LABEL: "run-1", platform.VARIANT_LABEL: "nano"}
    job = trainjob("abandoned", ["sleep", "3600"], labels=labels, ownerReferences=[owner])
    kubectl("-n", release, "create", "-f", "-", stdin=job)
    wait_for(lambda: get(release, "jobset", "abandoned"), 60, "the JobSet of the TrainJob")
    kubectl("-n", release, "patch", "workflow", "terminated", "--type=merge", "-p", '{"spec": {"activeDeadlineSeconds": 0}}')
    wait_for(lambda: get(release, "trainjob", "abandoned") is None, 120, "the reaper's deletion of the TrainJob")
    kubectl("-n", release, "delete", "workflow", "terminated")


def test_pipelines_may_start_trainings_and_no_more(release):
    account = f"system:serviceaccount:{release}:pipeline-runner"

    def may(verb: str, what: str, *where: str) -> bool:
        asked = kubectl("auth", "can-i", verb, what, "--as", account, *(where or ("-n", release)), check=False)
        return asked.strip() == "yes"

    assert all(may(verb, "trainjobs.trainer.kubeflow.org") for verb in ("create", "get", "watch", "patch", "delete"))
    assert may("get", "pods/log")
    assert may("list", "nodes", "--all-namespaces")
    for verb, what in (
        ("get", "secrets"),
        ("create", "pods"),
        ("delete", "pods"),
        ("patch", "trainingruntimes.trainer.kubeflow.org"),
    ):
        assert not may(verb, what), f"{verb} {what}"
    assert not may("list", "trainjobs.trainer.kubeflow.org", "-n", "default")


def test_mlflow_answers_to_every_form_of_its_name_and_to_no_other(release):
    program = (
        "import sys, time, urllib.error, urllib.request\n"
        "for host in sys.argv[1:]:\n"
        "    request = urllib.request.Request('http://sphinx-x-mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1')\n"
        "    request.add_header('Host', host)\n"
        "    for attempt in range(30):\n"  # where policies are enforced, a new pod is let through after a moment
        "        try: print(host, urllib.request.urlopen(request, timeout=60).status)\n"
        "        except urllib.error.HTTPError as error: print(host, error.code)\n"
        "        except urllib.error.URLError: time.sleep(1); continue\n"
        "        break\n"
    )
    forms = [f"sphinx-x-mlflow{rest}" for rest in ("", f".{release}", f".{release}.svc", f".{release}.svc.cluster.local")]
    hosts = [*forms, *(f"{form}:5000" for form in forms)]
    logs = run_pod(release, pod("names", OPS_IMAGE, ["python", "-c", program, *hosts, "evil.example"]))
    assert logs.split("\n")[: len(hosts)] == [f"{host} 200" for host in hosts]
    assert "evil.example 403" in logs


def test_artifacts_go_through_mlflow_into_the_store(release, s3):
    program = (
        "import mlflow, pathlib; pathlib.Path('/tmp/note.txt').write_text('kept');\n"
        "with mlflow.start_run(): mlflow.log_artifact('/tmp/note.txt')\n"
    )
    settings = [{"configMapRef": {"name": platform.SETTINGS_CONFIG_MAP}}]
    environment = [{"name": "GIT_PYTHON_REFRESH", "value": "quiet"}]
    run_pod(release, pod("artifact", OPS_IMAGE, ["python", "-c", program], envFrom=settings, env=environment))
    assert artifacts(s3) == 1


def artifacts(s3) -> int:
    """How many files MLflow has put into the store."""
    listed = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{s3.prefix}/mlflow/")
    return len([item for item in listed.get("Contents", []) if item["Key"].endswith("note.txt")])


def test_helm_test_says_what_is_there(release):
    done = helm("test", RELEASE, "--namespace", release, "--timeout", "300s")
    assert "Phase:          Succeeded" in done.stdout
    for what in ("✓ Kubeflow Trainer", "✓ runtimes", "✓ rights", "✓ store", "✓ MLflow"):
        assert what in done.stderr, done.stderr  # helm prints a hook's lines there
    assert get(release, "pod", "sphinx-x-doctor") is None


def test_helm_test_says_what_is_missing(release, values):
    """A bucket and a Secret that are not there: one line each with the remedy, and the pod is gone afterwards all the same."""
    server = {"enabled": True, **values["mlflow"]["server"]}
    broken = {"store": {"uri": "s3://no-such-bucket/x"}, "mlflow": {"server": server, "existingSecret": {"name": "forgotten"}}}
    helm("upgrade", RELEASE, str(CHART), "--namespace", release, values=merged(values, broken))
    done = helm("test", RELEASE, "--namespace", release, "--timeout", "300s", check=False)
    assert done.returncode != 0
    for what in ("✗ store", "no-such-bucket", "✗ secrets", "forgotten"):
        assert what in done.stderr, done.stderr
    assert get(release, "pod", "sphinx-x-doctor") is None


def test_upgrade_with_other_values(release, values):
    changes = {
        "training": {"deadlineHours": 12, "variants": {"nano": {"maxRestarts": 9}, "moe": {"enabled": False}}},
        "reaper": {"replicas": 2},
    }
    place = ("--namespace", release)
    helm("upgrade", RELEASE, str(CHART), *place, "--wait", "--timeout", f"{READY_SECONDS}s", values=merged(values, changes))
    runtime = get(release, "trainingruntime", "sphinx-x-nano")
    assert runtime
    assert runtime["spec"]["template"]["spec"]["failurePolicy"]["maxRestarts"] == 9
    assert get(release, "trainingruntime", "sphinx-x-moe") is None
    assert get(release, "poddisruptionbudget", "sphinx-x-reaper")
    settings = get(release, "configmap", platform.SETTINGS_CONFIG_MAP)
    assert settings
    assert settings["data"][platform.DEADLINE_HOURS] == "12"
    helm("rollback", RELEASE, "1", *place, "--wait", "--timeout", f"{READY_SECONDS}s")
    assert get(release, "trainingruntime", "sphinx-x-moe")


def test_a_second_release_in_the_namespace_is_refused(release, values):
    done = helm("install", "another", str(CHART), "--namespace", release, values=values, check=False)
    assert done.returncode != 0
    assert "exists and cannot be imported into the current release" in done.stderr


def test_uninstall_leaves_nothing_but_the_store(release, before, s3):
    kept = f"{s3.prefix}/mlflow/1/weights"
    s3.client.put_object(Bucket=s3.bucket, Key=kept, Body=b"weights")
    helm("uninstall", RELEASE, "--namespace", release, "--wait", "--timeout", "180s")
    wait_for(lambda: everything_in(release) <= before, 90, f"{release} as it was before", every=5)
    assert s3.client.head_object(Bucket=s3.bucket, Key=kept)["ContentLength"] == len(b"weights")
