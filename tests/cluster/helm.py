"""The chart on a test's namespace: a real helm, and values for the cluster that tests run on."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.conftest import S3
from tests.cluster.support import MLFLOW_SERVICE, OPS_IMAGE, TRAIN_IMAGE, inside

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sphinx-x"
SECONDS = 300


def helm(action: str, release: str, namespace: str, values: dict[str, Any] | None = None, *more: str) -> str:
    """One call of helm on the chart; what it printed.

    Args:
        action: install, upgrade, uninstall, test, status.
        values: for install and upgrade; both wait until everything is ready.

    Raises:
        AssertionError: it failed; the message is what helm said.
    """
    program = subprocess.run([ROOT / "infra/helm/build.sh"], capture_output=True, text=True, check=True).stdout.split()[-1]
    chart = [str(CHART), "--values", "-", "--wait", f"--timeout={SECONDS}s"] if action in ("install", "upgrade") else []
    command = [program, action, release, "--namespace", namespace, *chart, *more]
    done = subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, timeout=SECONDS + 60)
    assert done.returncode == 0, f"helm {action}: {done.stderr.strip()}"
    return done.stdout


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
        # Two nodes on a machine with two cores, beside all else.
        "training": {"variants": {"nano": {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}}},
        **more,
    }


def _image(reference: str) -> dict[str, str]:
    name, _, tag = reference.rpartition("/")[2].partition(":")
    return {"repository": name, "tag": tag}
