"""The configuration of a deployment: every wrong field is one sentence that names it."""

import pytest

from model.errors import ConfigError
from pipelines.cluster.config import SyncConfig
from tests.pipelines.cluster.deployments import NIGHTLY, OPS, deployment


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "sync.yaml: unknown field 'colour'; the fields are"),
        ({"images": {"ops": OPS}}, "field 'images.train' is missing"),
        ({"images": {"ops": OPS, "train": "registry.invalid/sphinx-x-train:set-by-the-uploader"}}, "is a placeholder"),
        ({"images": {"ops": OPS, "train": "registry.example/train"}}, "can change under a running system"),
        ({"images": {"ops": OPS, "train": "registry.example:5000/train"}}, "can change under a running system"),
        ({"images": {"ops": OPS, "train": "registry.example/train:latest"}}, "can change under a running system"),
        ({"images": {"ops": OPS, "train": "registry.example/train@sha256:abc"}}, "not 64 hex digits"),
        ({"secrets": {"s3": {"name": "x", "keys": {"PASSWORD": "p"}}}}, "x has PASSWORD; the names are AWS_ACCESS_KEY_ID"),
        ({"schedules": [NIGHTLY, NIGHTLY]}, "two schedules are called nightly"),
        (
            {"schedules": [NIGHTLY | {"cron": "0 2 * * *"}]},
            "field 'schedules.0.cron': cron \"0 2 \\* \\* \\*\" has five fields",
        ),
        ({"schedules": [NIGHTLY | {"name": "Nightly"}]}, "field 'schedules.0.name'"),
        ({"schedules": [NIGHTLY | {"parameters": {"a": "{{workflow.name}}"}}]}, "parameter a holds double braces"),
        ({"release": ""}, "field 'release'"),
    ],
)
def test_a_wrong_field_is_one_sentence(changes, words):
    with pytest.raises(ConfigError, match=words):
        deployment(**changes)


def test_a_pinned_tag_is_allowed_where_no_registry_gives_digests():
    assert (
        deployment(images={"ops": "localhost:5000/ops:1.2", "train": "localhost/train:dev"}).images.train
        == "localhost/train:dev"
    )


def test_a_file_that_is_not_there_or_no_yaml(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        SyncConfig.from_file(tmp_path / "nowhere.yaml")
    (tmp_path / "sync.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        SyncConfig.from_file(tmp_path / "sync.yaml")
