"""Names that the chart repeats, since Helm cannot read Python: held against the code that uses them."""

import pytest
import yaml

from components.shared import platform
from model.variants import VARIANTS
from pipelines.cluster.config import SyncConfig
from pipelines.cluster.render import compiled_pipelines
from pipelines.cluster.render import render as rendered_for_upload
from tests.helm.rendering import EVERYTHING, NAMESPACE, REQUIRED, find, merged, names, render

OBJECTS_MODE = {"kfp": {"mode": "kubernetes"}}


def settings(**values) -> dict[str, str]:
    return find(render(**values), "ConfigMap", platform.SETTINGS_CONFIG_MAP)["data"]


def sync_config(**values) -> SyncConfig:
    text = find(render(**values), "ConfigMap", "sphinx-x-sync")["data"]["sync.yaml"]
    return SyncConfig.from_fields(yaml.safe_load(text), "sync.yaml")


def test_settings_are_those_that_the_code_reads():
    assert set(settings(**EVERYTHING)) == set(platform.SETTINGS)


def test_a_setting_without_a_value_is_absent():
    """An empty AWS_ENDPOINT_URL would be an address."""
    shown = settings()
    assert set(shown) <= set(platform.SETTINGS)
    assert "" not in shown.values()
    assert "AWS_ENDPOINT_URL" not in shown


def test_settings_hold_the_values():
    shown = settings(**EVERYTHING)
    assert shown[platform.STORE] == "s3://bucket/sphinx-x"
    assert shown[platform.QUEUE] == "gpus"
    assert shown["MLFLOW_TRACKING_URI"] == f"http://sphinx-x-mlflow.{NAMESPACE}.svc:5000"
    assert shown[platform.GPUS_AUTOSCALED] == "true"
    assert float(shown[platform.GPU_MEMORY_GB]) == 80
    assert float(shown[platform.DEADLINE_HOURS]) == 168


def test_a_runtime_for_each_size():
    wanted = {("TrainingRuntime", platform.runtime_name(variant)) for variant in VARIANTS}
    assert names(render(), "TrainingRuntime") == wanted


def test_a_size_can_be_left_out():
    objects = render(training={"variants": {"moe": {"enabled": False}}})
    assert ("TrainingRuntime", "sphinx-x-moe") not in names(objects)


@pytest.mark.parametrize("values", [{}, EVERYTHING, OBJECTS_MODE], ids=["least", "everything", "objects"])
def test_the_uploader_understands_its_configuration(values):
    config = sync_config(**values)
    asked = merged(REQUIRED, values)
    assert (config.release, config.namespace) == ("sphinx-x", NAMESPACE)
    assert config.settings_config_map == platform.SETTINGS_CONFIG_MAP
    assert config.images.ops.startswith("registry.example/ml/sphinx-x-ops:")
    assert config.upload == (asked.get("kfp", {}).get("mode", "rest") == "rest")
    assert [schedule.name for schedule in config.schedules] == [one["name"] for one in asked.get("schedules", [])]
    assert (config.secrets.s3 is None) == ("s3" not in asked)


def test_secrets_reach_the_uploader_by_name_and_key():
    secrets = sync_config(**EVERYTHING).secrets
    assert secrets.s3 is not None
    assert secrets.mlflow is not None
    assert (secrets.s3.name, secrets.s3.keys["AWS_ACCESS_KEY_ID"]) == ("storage", "user")
    assert (secrets.mlflow.name, secrets.mlflow.keys["MLFLOW_TRACKING_PASSWORD"]) == ("login", "word")


PINNED = {"images": {"train": {"digest": "sha256:" + "b" * 64}}}


@pytest.mark.parametrize("values", [{}, EVERYTHING, PINNED], ids=["no secrets", "secrets", "by digest"])
def test_pipelines_as_objects_are_the_uploaded_ones(values):
    """Two ways into Kubeflow, one content: the template against the uploader."""
    asked = merged(
        values, {**OBJECTS_MODE, "kfp": {**values.get("kfp", {}), "mode": "kubernetes", "defaults": {"train_num_nodes": 4}}}
    )
    objects, config = render(**asked), sync_config(**asked)
    versions = [item for item in objects if item["kind"] == "PipelineVersion"]
    compiled = dict(compiled_pipelines())
    assert {version["spec"]["pipelineName"] for version in versions} == set(compiled)
    for version in versions:
        spec, platforms = yaml.safe_load_all(rendered_for_upload(compiled[version["spec"]["pipelineName"]], config).text)
        assert version["spec"]["pipelineSpec"] == spec
        assert version["spec"]["platformSpec"] == platforms
        assert ("Pipeline", version["spec"]["pipelineName"]) in names(objects)
        assert "registry.invalid" not in yaml.safe_dump(version)


def test_another_content_is_another_version():
    def version(**values) -> set:
        return names(render(**merged(OBJECTS_MODE, values)), "PipelineVersion")

    assert version() == version()
    assert version().isdisjoint(version(images={"ops": {"tag": "other"}}))
