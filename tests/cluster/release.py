"""A release of the chart on the tests' cluster, step by step, and what it leaves behind."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.conftest import S3
from tests.cluster.support import MLFLOW_SERVICE, OPS_IMAGE, TRAIN_IMAGE, inside, kubectl
from tests.helm.rendering import CHART, helm_binary

RELEASE = "sphinx-x"
WEBHOOK_TRIES = 4
READY_SECONDS = 420
"""For the small MLflow on a busy machine: two starts of Python with all of MLflow, one after the other."""


def helm(*arguments: str, values: dict[str, Any] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm; its output is the message of a failure. On a busy machine Trainer's webhook may be away for a moment: again, then."""
    with tempfile.TemporaryDirectory() as folder:
        given = []
        if values is not None:
            file = Path(folder, "values.yaml")
            file.write_text(yaml.safe_dump(values))
            given = ["--values", str(file)]
        for _ in range(WEBHOOK_TRIES):
            done = subprocess.run(
                [helm_binary(build=True), *arguments, *given], capture_output=True, text=True, timeout=READY_SECONDS + 60
            )
            if "failed calling webhook" not in done.stderr:
                break
            time.sleep(20)
    assert done.returncode == 0 or not check, f"helm {' '.join(arguments)}: {done.stderr}\n{done.stdout}"
    return done


def install(namespace: str, values: dict[str, Any]) -> None:
    """The chart in a namespace, waiting until all of it is ready."""
    helm("install", RELEASE, str(CHART), "--namespace", namespace, "--wait", f"--timeout={READY_SECONDS}s", values=values)


def everything_in(namespace: str) -> set[str]:
    """Kind and name of all objects, and of those of the whole cluster that name the namespace; events and leases come by themselves."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    lasting = [kind for kind in kinds if not kind.startswith(("events", "podmetrics", "endpointslices"))]
    found = kubectl("-n", namespace, "get", ",".join(lasting), "-o", "name", "--ignore-not-found").split()
    roles = kubectl("get", "clusterrole,clusterrolebinding,persistentvolume", "-o", "json")
    mine = [item for item in json.loads(roles)["items"] if namespace in json.dumps(item)]
    return {*found, *(f"{item['kind']}/{item['metadata']['name']}" for item in mine)}


def chart_values(s3: S3, experiment: str, **more: Any) -> dict[str, Any]:
    """The chart beside the cluster's own S3 and MLflow, without Kubeflow.

    Args:
        experiment: MLflow experiment of the test's runs.
    """
    return {
        "images": {
            "pullPolicy": "IfNotPresent",
            "registry": OPS_IMAGE.rpartition("/")[0],
            "ops": _image(OPS_IMAGE),
            "train": _image(TRAIN_IMAGE),
        },
        "store": {"uri": s3.uri("store")},
        "s3": {"endpointUrl": s3.endpoint_in_cluster, "region": "us-east-1", "existingSecret": {"name": "sphinx-x-s3"}},
        "mlflow": {"trackingUri": inside(MLFLOW_SERVICE), "experimentName": experiment},
        "kfp": {"mode": "none"},
        "networkPolicies": {"enabled": True, "s3": {"ports": [int(s3.endpoint_in_cluster.rpartition(":")[2])]}},
        # Two nodes on a machine with two cores, beside all else.
        "training": {"variants": {"nano": {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}}},
        **more,
    }


def _image(reference: str) -> dict[str, str]:
    name, _, tag = reference.rpartition("/")[2].partition(":")
    return {"repository": name, "tag": tag}
