"""The chart as objects: `helm template` with values, and the pods in what comes out.

objects = render(kfp={"mode": "none"})
find(objects, "Role", "sphinx-x-reaper")["rules"]
"""

import copy
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sphinx-x"
NAMESPACE = "ml"

REQUIRED: dict[str, Any] = {
    "images": {"registry": "registry.example/ml"},
    "store": {"uri": "s3://bucket/sphinx-x"},
    "mlflow": {"trackingUri": "http://mlflow.mlflow.svc:5000"},
}
"""The least that a person must say."""

EVERYTHING: dict[str, Any] = {
    "global": {"imagePullSecrets": ["pull"]},
    "s3": {
        "endpointUrl": "http://s3.example:9000",
        "region": "eu-central-1",
        "existingSecret": {"name": "storage", "accessKeyIdKey": "user", "secretAccessKeyKey": "password"},
    },
    "huggingface": {"existingSecret": {"name": "hub"}},
    "mlflow": {
        "trackingUri": "",
        "uiUrl": "https://mlflow.example",
        "existingSecret": {"name": "login", "usernameKey": "name", "passwordKey": "word"},
        "server": {"enabled": True},
    },
    "kfp": {"uiUrl": "https://kubeflow.example", "multiUser": True, "ca": {"configMap": "roots"}},
    "schedules": [{"name": "nightly", "cron": "0 0 2 * * *", "parameters": {"data_recipe_uri": "s3://bucket/recipe.yaml"}}],
    "training": {
        "uiUrl": "https://look.example/{namespace}/{name}",
        "gpusAutoscaled": True,
        "gpuMemoryGb": 80,
        "scheduling": {"mode": "kueue", "localQueue": "gpus"},
        "podDisruptionBudget": {"enabled": True},
    },
    "reaper": {"replicas": 2},
    "pipelines": {"serviceAccount": {"create": True}},
    "monitoring": {
        "metricsPort": 9464,
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
    "networkPolicies": {"enabled": True, "s3": {"ports": [9000]}},
    "extraLabels": {"team": "vision"},
    "podAnnotations": {"note": "x"},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
}
"""Every option on."""

KINDS = (
    "trainer.kubeflow.org/v1alpha1/TrainingRuntime",
    "pipelines.kubeflow.org/v2beta1/PipelineVersion",
    "monitoring.coreos.com/v1/PrometheusRule",
)


@functools.cache
def helm_binary(build: bool = False) -> str:
    """Path of helm; skips the test where it is not built.

    Args:
        build: Build it first (some minutes, once), which needs Go.
    """
    asked = subprocess.run([ROOT / "infra/helm/build.sh", *(() if build else ("--path",))], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(
            asked.stderr.strip() if build else "helm is not built: run infra/helm/build.sh once (needs Go), or make chart"
        )
    return asked.stdout.strip()


def run_helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm on the chart with these values and no others."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "values.yaml")
        file.write_text(yaml.safe_dump(values or {}))
        command = [helm_binary(), *arguments, str(CHART), "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


def _template(values: dict[str, Any], kinds: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """`helm template` for a cluster that knows these kinds."""
    known = [argument for kind in kinds for argument in ("--api-versions", kind)]
    return run_helm("template", "sphinx-x", "--namespace", NAMESPACE, *known, values=values)


def render(**values: Any) -> list[dict[str, Any]]:
    """The objects for the required values and these."""
    done = _template(merged(REQUIRED, values), KINDS)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def refusal(kinds: tuple[str, ...] = KINDS, **values: Any) -> str:
    """What helm says to values (exactly these) that it does not take."""
    done = _template(values, kinds)
    assert done.returncode != 0, "helm took these values"
    return done.stderr


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both, the second winning, maps merged as helm does it."""
    result = copy.deepcopy(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The object of that kind and name; one, or the test fails."""
    found = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name}; there are {names(objects)}"
    return found[0]


def names(objects: list[dict[str, Any]], kind: str = "") -> set[tuple[str, str]]:
    """Kinds and names of all objects, or of those of a kind."""
    return {(item["kind"], item["metadata"]["name"]) for item in objects if kind in ("", item["kind"])}


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Where from, metadata and spec of every pod that these objects make."""
    for item in objects:
        kind, spec = item["kind"], item.get("spec", {})
        if kind == "Pod":
            metadata, pod = item["metadata"], spec
        elif kind in ("Deployment", "Job"):
            metadata, pod = spec["template"]["metadata"], spec["template"]["spec"]
        elif kind == "TrainingRuntime":
            (job,) = spec["template"]["spec"]["replicatedJobs"]
            template = job["template"]["spec"]["template"]
            metadata, pod = template["metadata"], template["spec"]
        else:
            continue
        yield f"{kind} {item['metadata']['name']}", metadata, pod
