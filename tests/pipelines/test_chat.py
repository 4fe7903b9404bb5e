"""A registered model answers a question about a picture in fresh processes: with this project, and without it."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from components.shared import registry
from pipelines.cli import app
from pipelines.commands.chat import printable
from tests.support.raw_layouts import picture

WITHOUT = """
import sys
from importlib.machinery import PathFinder
absent = set(sys.argv.pop(1).split(","))
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name.partition(".")[0] in absent:
            return None
        return PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
"""
"""Opening of a program: first argument, packages that are not installed there."""

CONSUMER = (
    WITHOUT
    + """
import base64, json
from pathlib import Path
for ours in ("model", "components", "pipelines"):
    try:
        __import__(ours)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{ours} can be imported")
folder, file, question = sys.argv[1:]

import mlflow
model = mlflow.pyfunc.load_model("models:/sphinx-x-nano@champion")
data = open(file, "rb").read()
rows = [{"image": image, "question": question}
        for image in (Path(file), data, base64.b64encode(data).decode(), "data:image/png;base64," + base64.b64encode(data).decode())]
answers = model.predict(rows, params={"max_new_tokens": 12})["answer"].tolist()
text_only = model.predict([{"question": question}], params={"max_new_tokens": 12})["answer"].tolist()
try:
    model.predict([{"image": file, "question": question}])
except Exception as error:
    assert "no base64 text" in str(error), error
else:
    raise SystemExit("a text was taken for a path")
two = model.predict([{"image": [Path(file), Path(file)], "question": question}], params={"max_new_tokens": 12})["answer"].tolist()

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
own = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(Image.open(file).convert("RGB"), question)
ids = own.generate(**inputs, max_new_tokens=12, stop_ids=processor.stop_ids())
print(json.dumps({"pyfunc": answers, "text_only": text_only, "two": two, "auto": processor.batch_decode(ids)}))
"""
)

CHAT = (
    WITHOUT
    + """
from pipelines.cli import app
app()
"""
)
NOT_IN_CHAT = "kfp,deepspeed,kubernetes,moto,pytest,hypothesis,fitz,pyarrow"


@pytest.fixture
def photo(tmp_path):
    """A wide picture, so that some of its sub-images are padding."""
    path = tmp_path / "photo.png"
    path.write_bytes(picture(160, 70, shade=140, kind="PNG"))
    return str(path)


def environment(tmp_path, **more):
    """A process of somebody else: its own caches, no path to this project."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_CURRENT_TEST")}
    return env | {"HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", **more}


def test_without_this_project_mlflow_and_transformers_give_the_same_answers(champion, photo, tmp_path):
    registry.pull("models:/sphinx-x-nano@champion", tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONSUMER, "model,components,pipelines,kfp,deepspeed", str(tmp_path / "model"), photo, "what is it?"],
        capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["auto"][0]
    assert said["pyfunc"] == said["auto"] * 4
    assert said["text_only"] != said["auto"]
    assert len(said["two"]) == 1


def test_chat_answers_on_the_command_line_and_the_answer_alone_goes_to_stdout(champion, photo, tmp_path):
    question = ["chat", "models:/sphinx-x-nano@champion", "--image", photo, "-q", "what is it?", "--max-new-tokens", "12"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", CHAT, NOT_IN_CHAT, *question],
        capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment(tmp_path, PYTHONPATH=root),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == expected_answer(registry.fetch_model("models:/sphinx-x-nano"), photo) + "\n"


def expected_answer(folder, photo, question="what is it?"):
    from model.evaluate.answering import open_answerer
    from pipelines.commands.chat import read_picture

    with open_answerer(str(folder)) as answerer:
        return answerer.model.chat([read_picture(photo)], question, processor=answerer.processor, max_new_tokens=12)


def talk(model, *arguments, lines=()):
    return CliRunner().invoke(
        app, ["chat", model, "--max-new-tokens", "6", *arguments], input="".join(f"{line}\n" for line in lines)
    )


def test_a_conversation_changes_its_pictures_and_survives_a_wrong_one(judged_model, photo):
    lines = [f"/image {photo}", "what is it?", "/image nowhere.png", "/forget", "and now?", "/help", "/quit", "never asked"]
    done = talk(judged_model.model_uri, lines=lines)
    assert done.exit_code == 0, done.output
    assert "SPHINX-X nano on cpu" in done.output
    assert "looking at" in done.output
    assert "cannot read nowhere.png: it does not exist; check the path." in " ".join(done.output.split())
    assert "/forget" in done.output
    assert "never asked" not in done.output


def test_chat_never_runs_code_of_the_models_folder_unless_told_so(judged_model, photo, tmp_path, monkeypatch):
    from model import storage

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    storage.download_tree(judged_model.model_uri, tmp_path / "model")
    marker = tmp_path / "executed"
    for code in (tmp_path / "model").glob("*.py"):
        code.write_text(code.read_text().replace('"""\n\n', f'"""\n\nopen({str(marker)!r}, "w").close()\n\n', 1))
    done = talk(str(tmp_path / "model"), "--image", photo, "-q", "what is it?")
    assert done.exit_code == 0, done.output
    assert not marker.exists()


def test_trust_runs_the_folders_own_code(judged_model, photo):
    own = talk(judged_model.model_uri, "--image", photo, "-q", "what is it?")
    trusted = talk(judged_model.model_uri, "--image", photo, "-q", "what is it?", "--trust")
    assert trusted.exit_code == 0, trusted.output
    assert trusted.stdout == own.stdout


@pytest.mark.parametrize("more", [(), ("--trust",)])
def test_a_model_answers_in_fewer_bits_where_the_package_is(judged_model, photo, more):
    asked = ("--image", photo, "-q", "what is it?", "--quantise", "4bit", *more)
    if importlib.util.find_spec("bitsandbytes") is None:
        refused = talk(judged_model.model_uri, *asked)
        assert refused.exit_code == 2
        assert "install sphinx-x with the extra 'quantised'" in refused.output
        pytest.skip("bitsandbytes (the extra 'quantised') is not installed: only the refusal was tried")
    done = talk(judged_model.model_uri, *asked)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere is no exported model"),
        (["models:/sphinx-x-nano@winner"], "there is no models:/sphinx-x-nano@winner in the registry"),
        (["models:/sphinx-x-nano", "--image", "nowhere.png"], "cannot read nowhere.png: it does not exist"),
        (["models:/sphinx-x-nano", "--image", __file__], "is no picture to ask about"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(champion, arguments, sentence):
    done = talk(arguments[0], *arguments[1:], "-q", "what is it?")
    assert done.exit_code == 2
    assert done.output.startswith("sphinx-x: ")
    assert sentence in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_what_a_model_says_cannot_steer_the_terminal():
    assert printable("a\x1b]0;title\x07 cat\n\ton \x9b31m a mat – é 猫") == "a]0;title cat\n\ton 31m a mat – é 猫"
