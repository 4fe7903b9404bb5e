"""`sphinx-x pull`: a registered model as a folder, by one command."""

import subprocess
import sys

from typer.testing import CliRunner

from pipelines.cli import app


def pull(*arguments):
    return CliRunner().invoke(app, ["pull", *map(str, arguments)])


def test_pull_makes_a_whole_folder_and_says_how_to_ask_it(champion, judged_model, tmp_path):
    done = pull("models:/sphinx-x-nano@champion", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert f"sphinx-x chat {tmp_path / 'model'} --image photo.jpg" in done.output
    for file in judged_model.manifest.files:
        assert (tmp_path / "model" / file.path).stat().st_size == file.bytes


def test_pull_names_the_folder_after_the_version(champion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pull("models:/sphinx-x-nano").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sphinx-x-nano-v1"]


def test_pull_from_a_server_that_is_not_there_ends_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = pull("models:/sphinx-x-nano", tmp_path / "model")
    assert done.exit_code == 2
    assert done.output == (
        "sphinx-x: cannot look up models:/sphinx-x-nano: MLflow at http://127.0.0.1:9 does not answer; check MLFLOW_TRACKING_URI and "
        "that the server runs.\n"
    )
    assert not (tmp_path / "model").exists()


def test_pull_and_chat_are_described_without_importing_torch_mlflow_or_kfp():
    code = (
        "import sys; import pipelines.commands.pull, pipelines.commands.chat; "
        "print(sorted({'torch', 'mlflow', 'kfp', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
