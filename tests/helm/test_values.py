"""What a person may write, and what they are told when they write something else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from model.variants import VARIANTS
from tests.helm.rendering import CHART, KINDS, REQUIRED, ROOT, merged, refusal, run_helm


def test_lint():
    done = run_helm("lint", "--strict", values=merged(REQUIRED, {"trainer": {"check": False}}))
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_is_missing_is_said_at_once():
    said = refusal(kinds=())
    for what in ("images.registry", "store.uri", "mlflow.trackingUri", "no Kubeflow Trainer"):
        assert what in said


def test_a_cluster_without_trainer():
    said = refusal(kinds=(), **REQUIRED)
    assert "install Trainer 2.2 or newer" in said
    assert "trainer.check=false" in said


def test_rendering_without_a_cluster():
    done = run_helm("template", "sphinx-x", values=merged(REQUIRED, {"trainer": {"check": False}}))
    assert done.returncode == 0, done.stderr


def test_an_old_kubernetes():
    done = run_helm("template", "sphinx-x", "--kube-version", "1.30.0", values=REQUIRED)
    assert "kubeVersion: >=1.31" in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"storage": {}}, "additional properties 'storage' not allowed"),
        ({"training": {"variants": {"huge": {}}}}, "/training/variants': additional properties 'huge' not allowed"),
        ({"training": {"variants": {"nano": {"gpu": 1}}}}, "/training/variants/nano': additional properties 'gpu' not allowed"),
        ({"kfp": {"mode": "argo"}}, "/kfp/mode': value must be one of 'rest', 'kubernetes', 'none'"),
        ({"images": {"ops": {"digest": "abc"}}}, "/images/ops/digest"),
        ({"schedules": [{"name": "nightly", "cron": "0 2 * * *"}]}, "/schedules/0/cron"),
        (
            {"schedules": [{"name": "nightly", "cron": "0 0 2 * * *", "enabled": True}]},
            "additional properties 'enabled' not allowed",
        ),
        ({"training": {"env": {"NCCL_DEBUG": 1}}}, "/training/env/NCCL_DEBUG': got number, want string"),
    ],
)
def test_the_schema_names_the_place(values, said):
    assert said in refusal(**merged(REQUIRED, values))


@pytest.mark.parametrize(
    ("values", "kinds", "said"),
    [
        ({"mlflow": {"server": {"enabled": True}}}, KINDS, "not both"),
        ({"training": {"scheduling": {"mode": "kueue"}}}, KINDS, "LocalQueue"),
        ({"monitoring": {"podMonitor": {"enabled": True}}}, KINDS, "monitoring.metricsPort"),
        ({"kfp": {"mode": "none"}, "schedules": [{"name": "a", "cron": "0 0 2 * * *"}]}, KINDS, "kfp.mode is none"),
        (
            {"networkPolicies": {"enabled": True}, "s3": {"endpointUrl": "https://s3.example:9000"}},
            KINDS,
            "networkPolicies.s3.ports lacks 9000",
        ),
        ({"networkPolicies": {"enabled": True, "mlflow": {"ports": [443]}}}, KINDS, "networkPolicies.mlflow.ports lacks 5000"),
        ({"kfp": {"mode": "kubernetes"}}, KINDS[:1], "--pipelinesStoreKubernetes"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, KINDS[:1], "Prometheus operator"),
    ],
)
def test_values_that_contradict_each_other(values, kinds, said):
    assert said in refusal(kinds=kinds, **merged(REQUIRED, values))


def test_the_readme_s_examples_are_valid():
    blocks = (CHART / "README.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 3
    for block in blocks:
        text = block.partition("```")[0].replace("sha256:…", "sha256:" + "a" * 64)
        done = run_helm("template", "sphinx-x", values=merged(yaml.safe_load(text), {"trainer": {"check": False}}))
        assert done.returncode == 0, done.stderr


def test_sizes_are_the_model_s():
    assert list(yaml.safe_load((CHART / "values.yaml").read_text())["training"]["variants"]) == list(VARIANTS)


def test_no_part_of_the_schema_lets_unknown_keys_in():
    """Free are only maps of a person's own names, and pieces of Kubernetes' own API."""
    free = {"texts", "quantities", "kubernetesObject", "defaults", "parameters"}

    def open_parts(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object" and node.get("additionalProperties") is not False and path[-1] not in free:
                yield "/".join(path)
            for key, below in node.items():
                yield from open_parts(below, [*path, key])
        elif isinstance(node, list):
            for below in node:
                yield from open_parts(below, path)

    assert list(open_parts(json.loads((CHART / "values.schema.json").read_text()), ["root"])) == []


def document(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, root / "helm/document.py", *arguments], capture_output=True, text=True)


def test_readme_and_schema_are_up_to_date():
    done = document("--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("novel: 1", "novel in values.yaml has no description"),
        ("# -- A value.\nnovel: 1", "novel is in values.yaml but not in values.schema.json"),
    ],
)
def test_a_value_without_description_or_schema_is_named(tmp_path, line, said):
    (tmp_path / "helm").mkdir()
    (tmp_path / "helm/document.py").write_text((ROOT / "helm/document.py").read_text())
    chart = tmp_path / "helm/sphinx-x"
    chart.mkdir()
    for name in ("README.md", "values.schema.json"):
        (chart / name).write_text((CHART / name).read_text())
    (chart / "values.yaml").write_text((CHART / "values.yaml").read_text() + line + "\n")
    assert said in document("--check", root=tmp_path).stderr
