"""Readers of the registry: which version an address means, and a pulled folder that is whole or not there."""

import json
import os
import subprocess
import sys

import pytest

from components.shared import registry
from model import storage
from model.errors import ContractError, RegistryError
from tests.support.mlflow_server import cuttable
from tests.support.released import judge


@pytest.mark.parametrize("uri", ["models:/sphinx-x-nano@champion", "models:/sphinx-x-nano/1", "models:/sphinx-x-nano"])
def test_an_address_means_a_version(champion, uri):
    found = registry.resolve(uri)
    assert (found.uri, found.tags) == (champion.uri, champion.tags)


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("models:/sphinx-x-nano@winner", r"there is no models:/sphinx-x-nano@winner in the registry; it holds of this name .*@champion \(version 1\)"),
        ("models:/sphinx-x-nano/77", r"there is no models:/sphinx-x-nano/77 in the registry"),
        ("models:/sphinx-x-giant@champion", r"there is no models:/sphinx-x-giant@champion in the registry; it holds the names .*sphinx-x-nano"),
        ("models:/a/b/c", r"models:/a/b/c is no address in the registry; write models:/<name>@<alias>"),
    ],
)  # fmt: skip
def test_an_address_that_means_nothing_is_answered_with_what_there_is(champion, uri, sentence):
    with pytest.raises(RegistryError, match=f"^{sentence}"):
        registry.resolve(uri)


def test_where_there_is_no_registry_none_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert registry.champion_results("sphinx-x-nano") is None
    with pytest.raises(
        RegistryError, match="there is no registry to look up models:/sphinx-x-nano in; set MLFLOW_TRACKING_URI"
    ):
        registry.resolve("models:/sphinx-x-nano")
    assert not list(tmp_path.iterdir())


def test_a_champions_results_come_without_its_weights(champion, judged_model):
    assert registry.champion_results("sphinx-x-nano") == ("1", list(judged_model.results))


def test_a_name_without_a_champion_has_no_results(mlflow):
    assert registry.champion_results("never-seen") is None
    mlflow.create_registered_model("no-champion")
    assert registry.champion_results("no-champion") is None


def test_a_pulled_folder_is_the_export_and_what_was_registered_with_it(champion, judged_model, tmp_path):
    seen = []
    manifest = registry.pull("models:/sphinx-x-nano@champion", tmp_path / "model", lambda *progress: seen.append(progress))
    assert manifest == judged_model.manifest
    total = sum(file.bytes for file in manifest.files)
    assert seen[-1][1:] == (total, total)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {file.path for file in manifest.files} | {
        "MLmodel", "README.md", "conda.yaml", "python_env.yaml", "report.html", "requirements.txt", "results",
        "sphinx_x_manifest.json", "sphinx_x_pyfunc.py",
    }  # fmt: skip
    assert "held" in (tmp_path / "model" / "README.md").read_text()


def test_an_interrupted_pull_goes_on_where_it_stopped(champion, judged_model, tmp_path):
    class Stopped(Exception):
        pass

    def stop(path, done, total):
        if path == "model.safetensors":
            raise Stopped

    folder = tmp_path / "model"
    with pytest.raises(RegistryError):  # whatever a callback raises is explained as well
        registry.pull("models:/sphinx-x-nano", folder, stop)
    assert not (folder / "sphinx_x_manifest.json").exists()
    first = (folder / "model.safetensors").stat().st_mtime_ns
    registry.pull("models:/sphinx-x-nano", folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == first
    assert (folder / "sphinx_x_manifest.json").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_folder_that_holds_something_else_is_left_alone(champion, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ContractError, match="holds other files; name an empty folder"):
        registry.pull("models:/sphinx-x-nano", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_that_was_altered_in_the_registry_is_not_taken(champion, mlflow, tmp_path):
    artifacts = mlflow.get_logged_model(champion.model_id).artifact_location.removeprefix("file://")
    code = os.path.join(artifacts, "modeling_sphinx_x.py")
    with open(code, "a") as file:
        file.write("\nimport os\n")
    try:
        with pytest.raises(ContractError, match="modeling_sphinx_x.py is not what its manifest says"):
            registry.pull("models:/sphinx-x-nano", tmp_path / "model")
        assert not (tmp_path / "model" / "modeling_sphinx_x.py").exists()
    finally:
        with open(code, "r+") as file:
            text = file.read().removesuffix("\nimport os\n")
            file.seek(0)
            file.write(text)
            file.truncate()


def test_a_manifest_cannot_name_files_outside_the_folder(judged_model, tmp_path):
    fields = json.loads(judged_model.manifest.to_json())
    fields["files"][0]["path"] = "../outside.py"
    manifest = type(judged_model.manifest).model_validate(fields)
    with pytest.raises(ContractError, match=r"names a file outside its folder \(../outside.py\)"):
        registry._fill(tmp_path / "model", manifest, [], lambda path, to: to.write_text("x"), "s3://elsewhere", None)
    assert not (tmp_path / "outside.py").exists()


def test_a_model_by_any_address_is_a_folder_here(champion, judged_model, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digest = judged_model.manifest.digest[:12]
    assert str(registry.fetch_model(judged_model.model_uri)) == judged_model.model_uri
    assert registry.fetch_model("models:/sphinx-x-nano") == tmp_path / "sphinx-x" / f"sphinx-x-nano-v1-{digest}"
    storage.upload_tree(registry.fetch_model(judged_model.model_uri), s3.uri("models/nano"))
    assert registry.fetch_model(s3.uri("models/nano")) == tmp_path / "sphinx-x" / f"nano-{digest}"


# What the mlflow wheel requires and mlflow-skinny does not is absent.
SKINNY = """
import sys
from importlib.machinery import PathFinder
absent = {"aiohttp", "alembic", "docker", "flask", "flask_cors", "graphene", "gunicorn", "huey", "matplotlib", "numpy", "pandas", "pyarrow",
          "sklearn", "scipy", "skops", "sqlalchemy", "waitress", "torch", "transformers", "kfp", "kubernetes", "deepspeed"}
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
from pathlib import Path
from components.shared import registry
print(registry.pull("models:/over-http@candidate", Path(sys.argv[1])).digest)
"""


def test_pulling_over_http_needs_mlflow_skinny_alone(judged_model, mlflow_server, tmp_path, monkeypatch):
    from components.register import logic

    with cuttable(mlflow_server) as (uri, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        logic.run(**judged_model.arguments(name="over-http"))
        done = subprocess.run(
            [sys.executable, "-c", SKINNY, str(tmp_path / "model")], capture_output=True, text=True, timeout=120
        )
    assert done.stdout.strip() == judged_model.manifest.digest, done.stderr[-2000:]


def test_two_models_do_not_share_a_folder(champion, tmp_path, tmp_path_factory):
    other = judge(tmp_path_factory.mktemp("other"), seed=1)
    storage.download_tree(other.model_uri, tmp_path / "model")
    with pytest.raises(ContractError, match="holds another model; name an empty folder"):
        registry.pull("models:/sphinx-x-nano", tmp_path / "model")
