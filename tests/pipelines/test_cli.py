"""The command line: light to start, complete in its help, one sentence and exit code 2 where a user can mend what went wrong."""

import os
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from model.errors import ConfigError
from pipelines.cli import app
from pipelines.commands.options import overrides_of
from tests.support.small_world import write_recipe

COMMANDS = ("demo", "run", "validate", "plan", "runs", "report", "pull", "chat", "compile")
HEAVY = ("kfp", "torch", "kubernetes", "mlflow", "transformers", "deepspeed", "pyarrow", "numpy", "boto3")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command with an empty folder as working directory and nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # A command sets it for its own process; here the process goes on.
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("blocked", HEAVY)
def test_help_works_where_a_heavy_package_is_missing(blocked):
    code = f"import sys; sys.modules[{blocked!r}] = None\nfrom pipelines.cli import app\napp(sys.argv[1:])"
    for words in (["--help"], *([name, "--help"] for name in COMMANDS)):
        if words[0] == "--help" or blocked in ("kfp", "torch"):  # each command once for the two that cost seconds
            ended = subprocess.run(
                [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
            )
            assert ended.returncode == 0, ended.stderr[-500:]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example(command, name):
    said = command(name, "--help").output
    assert "Examples:" in said
    assert f"sphinx-x {name}" in said


def test_the_first_help_lists_every_command(command):
    said = command("--help").output
    assert all(name in said for name in COMMANDS)


def edited(path, change):
    fields = yaml.safe_load(path.read_text())
    change(fields)
    path.write_text(yaml.safe_dump(fields))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda fields: fields["datasets"][0].update(family="coco_detektion"),
            "there is no dataset family 'coco_detektion'; the families are",
        ),
        (lambda fields: fields["datasets"][0].update(root="raw/nowhere"), "raw/nowhere"),
        (lambda fields: fields["datasets"][0].update(colour="red"), "unknown field 'datasets.0.colour'"),
        (lambda fields: fields["datasets"][0].update(share=-1), "field 'datasets.0.share'"),
        (lambda fields: fields["datasets"][0].update(options={"colour": 1}), "unknown field 'colour'"),
        (lambda fields: fields["benchmarks"][0].update(benchmark="wqa"), "wqa"),
        (lambda fields: fields.pop("benchmarks"), "field 'benchmarks' is missing"),
        (lambda fields: fields.update(schema_version=9), "field 'schema_version' is 9"),
        (lambda fields: fields.update(name="My Recipe"), "field 'name'"),
    ],
)
@pytest.mark.parametrize("verb", ["validate", "run"])
def test_a_wrong_recipe_is_one_sentence_before_anything_is_made(command, tmp_path, verb, change, words):
    recipe = write_recipe(tmp_path)
    edited(recipe, change)
    ended = command(verb, recipe)
    assert ended.exit_code == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.output
    assert not (tmp_path / ".sphinx-x").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "cannot read nothing.yaml: it does not exist; check the path."),
        (["recipe.yaml", "--variant", "huge"], "there is no variant 'huge'; choose one of nano, tiny"),
        (["recipe.yaml", "--set", "epochs"], "--set epochs: write key=value"),
        (["recipe.yaml", "--set", "optimizer.learning_rates=1"], "learning_rates"),
        (["recipe.yaml", "--set", "epochs=many"], "field 'epochs'"),
        (["recipe.yaml", "--processes", "3"], "3 processes cannot share packs_multiple=2 packs evenly"),
        (["recipe.yaml", "--variant", "moe", "--base", "base"], "moe needs about"),
        (["recipe.yaml", "--mode", "fair"], "there is no evaluation mode 'fair'; choose one of official, sphinx."),
        (["recipe.yaml", "--store", "s3://bucket/store"], "s3://bucket/store"),
    ],
)
def test_a_wrong_option_is_one_sentence(command, tmp_path, monkeypatch, words, said):
    write_recipe(tmp_path)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }.items():
        monkeypatch.setenv(name, value)
    ended = command("run", *words)
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_published_size_without_its_base_says_how_to_make_one(tmp_path):
    from rich.console import Console

    from pipelines.prelude import base_for

    with pytest.raises(ConfigError, match=r"TinyLlama.*python -m model\.convert.*--base"):
        base_for("tiny", "", str(tmp_path), Console())


def test_an_mlflow_that_does_not_answer_is_said_before_anything_is_made(command, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ended = command("run", write_recipe(tmp_path))
    assert ended.exit_code == 2
    assert "MLflow at http://127.0.0.1:9 does not answer" in ended.stderr
    assert not (tmp_path / ".sphinx-x/runs").exists()


def test_text_that_is_not_yaml_is_one_sentence(command, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: [a\ndatasets: }")
    ended = command("validate", "bad.yaml")
    assert (ended.exit_code, ended.stderr.count("\n")) == (2, 1)
    assert "bad.yaml is not YAML" in ended.stderr


def test_a_recipe_is_checked_before_nanos_base_is_made(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = command("validate", write_recipe(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert "made when the run starts" in ended.output


def test_a_good_recipe_is_shown_as_what_will_be_done(command, tmp_path):
    from model.contracts.checkpoint import BaseModel

    (tmp_path / "base").mkdir()
    base = BaseModel(name="some-base", uri="base", digest="0" * 64, licence="MIT")
    (tmp_path / "base/base.json").write_text(base.model_dump_json())
    ended = command("validate", write_recipe(tmp_path), "--base", "base")
    assert ended.exit_code == 0, ended.stderr
    assert all(words in ended.output for words in ("coco_detection", "named-val", "some-base (MIT)", "sphinx-x-nano"))


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        (None, {}),
        (["epochs=2"], {"epochs": 2}),
        (["optimizer.learning_rate=1e-3", "optimizer.beta1=0.8"], {"optimizer": {"learning_rate": 1e-3, "beta1": 0.8}}),
        (["watch.profile_steps=[3, 5]"], {"watch": {"profile_steps": [3, 5]}}),
        (["loader.cache_dir=/tmp/x=y"], {"loader": {"cache_dir": "/tmp/x=y"}}),
        (["engine.activation_checkpointing=true"], {"engine": {"activation_checkpointing": True}}),
    ],
)
def test_settings_become_nested_options(settings, overrides):
    assert overrides_of(settings) == overrides


@pytest.mark.parametrize("settings", [["=1"], ["a..b=1"], ["a=1", "a.b=2"], ["a={"]])
def test_a_setting_that_says_nothing_is_refused(settings):
    with pytest.raises(ConfigError, match="--set"):
        overrides_of(settings)


def test_without_runs_the_commands_say_how_to_start_one(command):
    assert "sphinx-x run RECIPE" in command("runs").output
    ended = command("report")
    assert ended.exit_code == 2
    assert "there is no report in .sphinx-x" in ended.stderr


def test_compile_writes_what_kubeflow_and_editors_take(command, tmp_path):
    assert command("compile", "--output", tmp_path / "out").exit_code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "sphinx-x-train.yaml",
        "sphinx-x-family.yaml",
        "family.schema.json",
        "recipe.schema.json",
        "train-config.schema.json",
    }
