"""Compiled pipelines made fit for one deployment: what is put in, what is left alone, what is refused."""

import json

import pytest
import yaml

from components import images
from components.shared.platform import IMAGE_DIGEST, MLFLOW_SECRET, S3_SECRET, SETTINGS_CONFIG_MAP
from model.errors import ConfigError
from pipelines.cluster.render import compiled_pipelines, render, render_all
from pipelines.cluster.sync import check_schedules
from tests.pipelines.cluster.deployments import NIGHTLY, OPS, TRAIN, deployment

NAMES = [name for name, _ in compiled_pipelines()]
S3 = {"name": "team-s3", "keys": {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "password"}}


def executors_of(text: str) -> dict:
    spec, platform = yaml.safe_load_all(text)
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name: (one, kubernetes.get(name, {})) for name, one in spec["deploymentSpec"]["executors"].items()}


@pytest.mark.parametrize("name", NAMES)
def test_no_placeholder_is_left_and_every_task_has_its_own_image(name):
    before = dict(compiled_pipelines())[name]
    after = render(before, deployment())
    assert "registry.invalid" not in after.text
    wanted = {images.OPS: OPS, images.TRAIN: TRAIN}
    for (old, _), (new, _) in zip(executors_of(before).values(), executors_of(after.text).values(), strict=True):
        assert new["container"]["image"] == wanted[old["container"]["image"]]


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_the_deployments_by_name_and_key_and_absent_ones_are_named_nowhere(name):
    rendered = render(dict(compiled_pipelines())[name], deployment(secrets={"s3": S3}, settings_config_map="team-settings"))
    for _, kubernetes in executors_of(rendered.text).values():
        (secret,) = kubernetes["secretAsEnv"]
        assert (secret["secretName"], secret["secretNameParameter"]["runtimeValue"]["constant"]) == ("team-s3", "team-s3")
        assert {one["envVar"]: one["secretKey"] for one in secret["keyToEnv"]} == S3["keys"]
        assert [one["configMapName"] for one in kubernetes["configMapAsEnv"]] == ["team-settings"]
    assert MLFLOW_SECRET not in rendered.text
    assert S3_SECRET not in rendered.text
    assert SETTINGS_CONFIG_MAP not in rendered.text


@pytest.mark.parametrize("name", NAMES)
def test_everything_else_stays_as_it_was_compiled(name):
    before = dict(compiled_pipelines())[name]
    spec, _ = yaml.safe_load_all(before)
    rendered, _ = yaml.safe_load_all(render(before, deployment()).text)
    for one in (spec, rendered):
        for executor in one["deploymentSpec"]["executors"].values():
            executor["container"].pop("image")
            env = [one for one in executor["container"].pop("env", []) if one["name"] != IMAGE_DIGEST]
            executor["container"]["env"] = env
    assert json.dumps(rendered, sort_keys=True) == json.dumps(spec, sort_keys=True)


@pytest.mark.parametrize(
    ("reference", "shown"),
    [("registry:5000/ml/train@sha256:" + "a" * 64, "sha256:" + "a" * 64), ("registry:5000/ml/train:1.2", "train:1.2")],
)
def test_every_task_knows_the_train_image_by_its_digest(reference, shown):
    rendered = render(dict(compiled_pipelines())["sphinx-x-train"], deployment(images={"ops": OPS, "train": reference}))
    for one, _ in executors_of(rendered.text).values():
        assert {"name": IMAGE_DIGEST, "value": shown} in one["container"]["env"]


def test_a_version_is_named_by_content():
    text = dict(compiled_pipelines())["sphinx-x-train"]
    one, same = render(text, deployment()), render(text, deployment(release="other"))
    other = render(text, deployment(images={"ops": OPS, "train": OPS}))
    assert one.version == same.version != other.version
    assert one.version.rpartition("-")[2].isalnum()


def test_a_placeholder_that_nothing_replaces_is_refused():
    text = dict(compiled_pipelines())["sphinx-x-train"].replace(
        "sphinx-x-ops:set-by-the-uploader", "another:set-by-the-uploader"
    )
    with pytest.raises(ConfigError, match="still holds the placeholder registry.invalid/another"):
        render(text, deployment())


def test_defaults_fill_the_form_of_pipelines_that_have_the_parameter():
    text = dict(compiled_pipelines())["sphinx-x-train"]
    rendered = render(text, deployment(defaults={"data_store_uri": "s3://bucket/x", "train_variant": "nano"}))
    assert rendered.parameters["data_store_uri"]["defaultValue"] == "s3://bucket/x"
    for defaults, words in (
        ({"train_variant": "huge"}, "defaults.train_variant must be one of nano, tiny"),
        ({"train_num_nodes": "2"}, "defaults.train_num_nodes must be a whole number"),
        ({"colour": "red"}, "defaults.colour: no pipeline has such a parameter"),
    ):
        with pytest.raises(ConfigError, match=words):
            render_all(deployment(defaults=defaults))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (NIGHTLY | {"parameters": {}}, r"schedules.0 \(nightly\): parameter data_recipe_uri is missing"),
        (NIGHTLY | {"pipeline": "nothing"}, "there is no pipeline nothing; there are sphinx-x-"),
        ({**NIGHTLY, "parameters": {**NIGHTLY["parameters"], "colour": 1}}, "the pipeline has no parameter colour"),
        (
            {**NIGHTLY, "parameters": {**NIGHTLY["parameters"], "train_num_nodes": True}},
            "train_num_nodes must be a whole number, not True",
        ),
    ],
)
def test_a_schedules_parameters_are_checked_before_kubeflow_is_asked(schedule, words):
    config = deployment(schedules=[schedule])
    with pytest.raises(ConfigError, match=words):
        check_schedules(config, render_all(config))
