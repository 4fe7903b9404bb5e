"""A run of questions: the same answers in any batches, after any kill, and never twice; what is published can be scored again."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from model import storage
from model.contracts.evaluation import PREDICTIONS_FILE, RESULT_FILE
from model.contracts.recipe import BenchmarkSpec
from model.errors import ConfigError, ContractError, DataError, FitError
from model.evaluate import answering
from model.evaluate.answering import Answerer, Asked, open_answerer
from model.evaluate.pictures import shown_name
from model.evaluate.results import read_predictions, rescore
from model.evaluate.runner import evaluate
from tests.support.judged import recipe_with, save_model, write_short_answers
from tests.support.raw_layouts import picture, put

KILL_AFTER_S = 180
"""A cold import of torch on a busy machine takes half a minute."""
NEW_TOKENS = 12


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture
def raw(tmp_path) -> Path:
    return write_short_answers(tmp_path / "raw")


def recipe_over(raw, **fields):
    options = {"max_new_tokens": NEW_TOKENS, **fields.pop("options", {})}
    return recipe_with(BenchmarkSpec(name="asked", benchmark="short_answer", root=str(raw), options=options), **fields)


def answers_in(uri: str) -> dict[str, str]:
    return {one.question_id: one.answer for one in read_predictions(uri)}


def test_answers_do_not_depend_on_the_batches(model_uri, raw, tmp_path):
    alone, _ = evaluate(model_uri, recipe_over(raw), "asked", str(tmp_path / "alone"), batch_size=1)
    together, result = evaluate(model_uri, recipe_over(raw), "asked", str(tmp_path / "together"), batch_size=16)
    assert answers_in(alone) == answers_in(together)
    assert len(set(answers_in(alone).values())) > 1, "answers that are all equal would hide a mix-up"
    assert result.questions == 30
    assert result.predictions_sha256 == storage.sha256_of(Path(together) / PREDICTIONS_FILE)


def test_answers_are_those_of_the_models_own_chat(model_uri, raw, tmp_path):
    uri, _ = evaluate(model_uri, recipe_over(raw), "asked", str(tmp_path / "store"))
    model = AutoModelForImageTextToText.from_pretrained(model_uri, trust_remote_code=True, dtype=torch.float32)
    for one in read_predictions(uri)[::7]:
        image = Image.open(one.picture)
        assert model.chat(image, one.question, max_new_tokens=NEW_TOKENS) == one.answer


def groups_of(answerer: Answerer, num_pictures: int = 5, per_picture: int = 3) -> list[Asked]:
    return [
        Asked(
            answerer.views(Image.new("RGB", (90 - 10 * number, 60), (40 * number, 90, 30))),
            tuple((f"{number}-{place}", "what is " + "bado " * place + "here?") for place in range(per_picture)),
        )
        for number in range(num_pictures)
    ]


def test_a_picture_is_encoded_once_however_many_questions_it_has(model_uri, monkeypatch):
    encoded = []
    with open_answerer(model_uri, batch_size=4) as answerer:
        groups = groups_of(answerer)
        encode = answerer.model.encode_views
        monkeypatch.setattr(
            answerer.model, "encode_views", lambda **views: encoded.append(len(views["vit_views"])) or encode(**views)
        )
        answers = dict(pair for batch in answerer.answer(groups, NEW_TOKENS) for pair in batch)
    assert len(answers) == 15
    assert sum(encoded) == sum(sum(one.views.kept) for one in groups)


def test_a_model_spread_over_several_devices_answers_as_one_on_one_device(model_uri, tmp_path):
    # No second device here but the disk; accelerate moves what a layer needs to it in the same way as between GPUs.
    with open_answerer(model_uri) as answerer:
        whole = dict(pair for batch in answerer.answer(groups_of(answerer), NEW_TOKENS) for pair in batch)
        language = answerer.model.language.model
        parts = [
            "conv",
            "vit",
            "fusion",
            "language.lm_head",
            *(f"language.model.{name}" for name, _ in language.named_children()),
        ]
    parts.remove("language.model.layers")
    layers = [f"language.model.layers.{number}" for number in range(len(language.layers))]
    spread = dict.fromkeys(parts, "cpu") | {name: ("cpu", "disk")[number % 2] for number, name in enumerate(layers)}
    with open_answerer(model_uri, device_map=spread, offload_folder=str(tmp_path)) as answerer:
        classes = {type(part).__name__ for part in answerer.model.modules()}
        assert {"LlamaDecoderLayer", "ConvNeXt", "VisionTransformer", "Fusion"} <= classes & set(
            answerer.model._no_split_modules
        )
        assert dict(pair for batch in answerer.answer(groups_of(answerer), NEW_TOKENS) for pair in batch) == whole


def test_what_does_not_fit_the_memory_is_done_in_smaller_parts_with_the_same_answers(model_uri, monkeypatch):
    def scarce(work, most):
        def limited(model, things, *rest):
            if len(things) > most:
                raise torch.OutOfMemoryError("made up")
            return work(model, things, *rest)

        return limited

    with open_answerer(model_uri) as answerer:
        groups = groups_of(answerer)
        plenty = dict(pair for batch in answerer.answer(groups, NEW_TOKENS) for pair in batch)
        monkeypatch.setattr(answering, "prefill", scarce(answering.prefill, 2))
        monkeypatch.setattr(answering, "answer_suffixes", scarce(answering.answer_suffixes, 1))
        assert dict(pair for batch in answerer.answer(groups, NEW_TOKENS) for pair in batch) == plenty
        monkeypatch.setattr(answering, "answer_suffixes", scarce(answering.answer_suffixes, 0))
        with pytest.raises(FitError, match="larger GPU"):
            list(answerer.answer(groups, NEW_TOKENS))


def test_a_killed_run_goes_on_where_it_stopped_and_ends_the_same(model_uri, raw, tmp_path):
    recipe = recipe_over(raw)
    whole, expected = evaluate(model_uri, recipe, "asked", str(tmp_path / "whole"), batch_size=4)
    put(tmp_path / "recipe.json", recipe.to_json())
    code = (
        "import sys, time; from pathlib import Path; from model.contracts.recipe import Recipe; from model.evaluate.runner import evaluate;"
        "slow = lambda done, total: time.sleep(3 if done > 8 else 0);"
        "evaluate(sys.argv[1], Recipe.read(sys.argv[2]), 'asked', sys.argv[3], progress=slow, batch_size=4)"
    )
    command = [sys.executable, "-c", code, model_uri, str(tmp_path / "recipe.json"), str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    log = _await_lines(tmp_path / "killed", at_least=9)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "killed").rglob(RESULT_FILE))
    with open(log, "ab") as file:
        file.write(b'{"question_id":"5-4","answer":"torn')
    seen = []
    again, result = evaluate(
        model_uri,
        recipe,
        "asked",
        str(tmp_path / "killed"),
        progress=lambda done, total: seen.append((done, total)),
        batch_size=4,
    )
    assert seen[0][0] >= 9
    assert seen[-1] == (30, 30)
    changing = {"seconds", "questions_per_second", "device"}
    assert result.model_dump(exclude=changing) == expected.model_dump(exclude=changing)
    assert (Path(again) / PREDICTIONS_FILE).read_bytes() == (Path(whole) / PREDICTIONS_FILE).read_bytes()


def _await_lines(folder: Path, at_least: int) -> Path:
    deadline = time.monotonic() + KILL_AFTER_S
    while time.monotonic() < deadline:
        for log in folder.rglob(PREDICTIONS_FILE):
            if log.read_bytes().count(b"\n") >= at_least:
                return log
        time.sleep(0.02)
    raise AssertionError(f"no {at_least} predictions within {KILL_AFTER_S} s")


def test_torn_and_foreign_lines_are_asked_again(model_uri, raw, tmp_path):
    recipe = recipe_over(raw)
    uri, result = evaluate(model_uri, recipe, "asked", str(tmp_path / "store"))
    log = Path(uri) / PREDICTIONS_FILE
    lines = log.read_text().splitlines()
    (Path(uri) / RESULT_FILE).unlink()
    foreign = json.dumps(json.loads(lines[0]) | {"question_id": "of another benchmark"})
    log.write_text("\n".join([lines[3], lines[3], foreign, "{}", lines[4][:60]]))
    seen = []
    _, again = evaluate(model_uri, recipe, "asked", str(tmp_path / "store"), progress=lambda done, _: seen.append(done))
    assert seen[0] == 1
    assert again.predictions_sha256 == result.predictions_sha256
    assert log.read_text().splitlines() == lines


def test_a_finished_result_is_known_again_without_torch_and_without_the_weights(model_uri, raw, tmp_path):
    recipe = recipe_over(raw)
    moved = tmp_path / "elsewhere"
    shutil.copytree(model_uri, moved)
    uri, _ = evaluate(model_uri, recipe, "asked", str(tmp_path / "store"))
    (moved / "model.safetensors").unlink()
    put(tmp_path / "recipe.json", recipe.to_json())
    blocked = ("torch", "transformers", "timm")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}));"
        "from model.contracts.recipe import Recipe; from model.evaluate.runner import evaluate;"
        "print(evaluate(sys.argv[1], Recipe.read(sys.argv[2]), 'asked', sys.argv[3])[0])"
    )
    command = [sys.executable, "-c", code, str(moved), str(tmp_path / "recipe.json"), str(tmp_path / "store")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == uri


def test_modes_and_models_have_results_of_their_own(model_uri, raw, tmp_path):
    store = str(tmp_path / "store")
    official, first = evaluate(model_uri, recipe_over(raw), "asked", store)
    sphinx, second = evaluate(model_uri, recipe_over(raw), "asked", store, mode="sphinx")
    assert official != sphinx
    assert (first.mode, second.mode) == ("official", "sphinx")
    assert first.metric != second.metric
    assert first.benchmark_digest != second.benchmark_digest


def test_a_broken_picture_is_counted_and_the_rest_is_asked(model_uri, raw, tmp_path):
    put(raw / "images/2.jpg", picture(40, 120)[:200])
    uri, result = evaluate(model_uri, recipe_over(raw, max_reject_share=0.2), "asked", str(tmp_path / "store"))
    assert result.questions == 25
    assert result.rejects == {"picture unreadable": 5}
    assert not any(one.startswith("2-") for one in answers_in(uri))


def test_too_many_broken_pictures_stop_the_run_and_leave_no_result(model_uri, raw, tmp_path):
    put(raw / "images/2.jpg", b"no picture")
    with pytest.raises(DataError, match=r"5 of 30 questions are faulty \(5 x picture unreadable\)"):
        evaluate(model_uri, recipe_over(raw), "asked", str(tmp_path / "store"))
    assert not list((tmp_path / "store").rglob(RESULT_FILE))


def test_pictures_for_the_report_are_small_and_named_by_their_question(model_uri, raw, tmp_path):
    put(raw / "images/1.jpg", picture(1200, 400))
    uri, _ = evaluate(model_uri, recipe_over(raw), "asked", str(tmp_path / "store"))
    saved = {path.stem: path for path in (Path(uri) / "pictures").iterdir()}
    assert len(saved) == 24
    names = {shown_name(one.question_id): one for one in read_predictions(uri)}
    assert set(saved) < set(names)
    assert {names[name].picture for name in saved} == {one.picture for one in names.values()}
    assert {max(Image.open(path).size) for name, path in saved.items() if names[name].picture.endswith("/1.jpg")} == {512}


def test_scores_come_out_again_from_predictions_alone(model_uri, raw, tmp_path):
    uri, result = evaluate(model_uri, recipe_over(raw, options={"metric": "anls"}), "asked", str(tmp_path / "store"))
    assert rescore(uri) == result
    log = Path(uri) / PREDICTIONS_FILE
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row | {"answer": row["expected"][0]}) + "\n" for row in rows))
    assert rescore(uri).score == 1
    log.write_text(log.read_text()[:-20])
    with pytest.raises(ContractError, match="1 lines of .* are damaged"):
        rescore(uri)


def test_a_model_of_another_padding_is_refused(raw, tmp_path):
    uri = save_model(tmp_path / "centred", padding="centre")
    with pytest.raises(ConfigError, match="set padding: centre in the recipe"):
        evaluate(uri, recipe_over(raw), "asked", str(tmp_path / "store"))


def test_a_model_with_a_tensor_missing_is_refused(model_uri, raw, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(model_uri, torn)
    weights = load_file(torn / "model.safetensors")
    del weights["fusion.skip"]
    save_file(weights, torn / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="does not hold a whole model: missing fusion.skip"):
        evaluate(str(torn), recipe_over(raw), "asked", str(tmp_path / "store"))


def test_a_result_on_s3_is_whole_and_resumed(s3, model_uri, raw):
    recipe = recipe_over(raw)
    uri, result = evaluate(model_uri, recipe, "asked", s3.uri("store"))
    lines = storage.read_bytes(storage.join(uri, PREDICTIONS_FILE)).splitlines(keepends=True)
    assert evaluate(model_uri, recipe, "asked", s3.uri("store")) == (uri, result)
    storage.delete_tree(storage.join(uri, RESULT_FILE))
    storage.write_bytes(storage.join(uri, PREDICTIONS_FILE), b"".join(lines[:20]))
    seen = []
    _, again = evaluate(model_uri, recipe, "asked", s3.uri("store"), progress=lambda done, _: seen.append(done))
    assert seen[0] == 20
    assert again.predictions_sha256 == result.predictions_sha256
