"""Readers of benchmarks: what is asked and accepted, what is left out and counted, and what is found wrong before a model is loaded."""

import json
import pickle
import subprocess
import sys

import pytest

from model.contracts.recipe import BenchmarkSpec
from model.errors import DataError
from model.evaluate.benchmarks import BENCHMARKS, FITTING, read_questions
from model.evaluate.chance import chance_of
from model.evaluate.questions import QuestionSet
from tests.support.judged import recipe_with, write_pope, write_short_answers
from tests.support.raw_layouts import (
    answers,
    instances,
    picture,
    put,
    ref,
    write_coco,
    write_icdar,
    write_publaynet,
    write_refcoco,
    write_vqav2,
)


def asking(root, benchmark: str, mode: str = "official", **fields) -> QuestionSet:
    recipe_fields = {key: fields.pop(key) for key in ("padding", "max_reject_share", "datasets") if key in fields}
    spec = BenchmarkSpec(name="asked", benchmark=benchmark, root=str(root), **fields)
    return read_questions(recipe_with(spec, **recipe_fields), "asked", mode)


def test_every_benchmark_has_a_line_for_people_and_documented_options():
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.summary
        for field, schema in benchmark.options.model_json_schema()["properties"].items():
            assert schema.get("description"), f"{name}: option {field} has no docstring"
    assert set(FITTING.values()) <= set(BENCHMARKS)
    assert all(family in BENCHMARKS[name].families for family, name in FITTING.items())


def test_vqa_questions_carry_all_ten_answers_and_the_group_of_their_choice(tmp_path):
    root = write_vqav2(tmp_path)
    content = json.loads((root / "v2_mscoco_train2014_annotations.json").read_text())
    for row, kind in zip(content["annotations"], ("other", "yes/no", "number"), strict=True):
        row |= {"answer_type": kind, "question_type": f"type of {kind}"}
    content["annotations"][1]["answers"] = answers(*["yes"] * 6, *["no"] * 4)
    put(root / "v2_mscoco_train2014_annotations.json", content)
    found = asking(root, "vqav2", split="train")
    first, second, third = found.questions
    assert first.prompt == "What is this?\nAnswer the question using a single word or phrase."
    assert first.expected == ("net",) * 4 + ("cup",) * 6
    assert [one.group for one in found.questions] == ["other", "yes/no", "number"]
    assert (first.choices, second.choices) == ((), ("yes", "no"))
    assert third.picture.uri.endswith("train2014/COCO_train2014_000000000009.jpg")
    typed = asking(root, "vqav2", split="train", options={"groups": "question_type"})
    assert typed.questions[0].group == "type of other"


def test_vqa_questions_that_too_few_people_answered_are_counted(tmp_path):
    root = write_vqav2(tmp_path)
    content = json.loads((root / "v2_mscoco_train2014_annotations.json").read_text())
    content["annotations"][0]["answers"] = answers("cup", "cup", "cup")
    put(root / "v2_mscoco_train2014_annotations.json", content)
    with pytest.raises(DataError, match=r"1 of 3 questions are faulty \(1 x question without answers\)"):
        asking(root, "vqav2", split="train")
    assert asking(root, "vqav2", split="train", max_reject_share=0.4).rejects == {"question without answers": 1}


def test_refcoco_asks_about_each_sentence_of_the_split_with_the_unrounded_box(tmp_path):
    content = instances()
    content["annotations"][3]["bbox"] = [8.2, 4.7, 16.3, 8.2]
    root = write_refcoco(tmp_path)
    put(root / "instances.json", content)
    (asked,) = asking(root, "refcoco", split="val").questions
    assert asked.prompt == "Please provide the bounding box coordinate of the region this sentence describes: the other cup."
    assert asked.expected == ("[0.10,0.06,0.31,0.16]",)
    assert asked.expected_boxes == (pytest.approx((8.2 / 80, 4.7 / 80, 24.5 / 80, 12.9 / 80)),)
    assert len(asking(root, "refcoco", split="train").questions) == 4


def test_refcoco_with_centre_padding_knows_where_the_picture_lies(tmp_path):
    content = instances()
    content["images"][1]["height"] = 41
    root = write_refcoco(tmp_path)
    put(root / "instances.json", content)
    official = asking(root, "refcoco", split="val", padding="centre")
    sphinx = asking(root, "refcoco", "sphinx", split="val", padding="centre")
    assert official.questions[0].origin == (0.0, 19.5 / 80)
    assert sphinx.questions[0].origin == (0.0, 19 / 80)
    assert official.questions[0].expected_boxes == sphinx.questions[0].expected_boxes
    assert official.metric.name != sphinx.metric.name
    for found in (official, sphinx):
        verdict = found.metric.judge(found.questions[0].expected[0], found.questions[0])
        assert verdict.score == 1


def test_refcoco_counts_refs_that_lead_nowhere(tmp_path):
    refs = [ref(0, 1, 10, "val", "cup", " "), ref(1, 1, 999, "val", "x"), {"ref_id": 2}, ref(3, 77, 30, "val", "x")]
    root = write_refcoco(tmp_path, refs)
    found = asking(root, "refcoco", split="val", max_reject_share=0.9)
    assert len(found.questions) == 1
    assert found.rejects == {"annotation not listed": 1, "empty sentence": 1, "malformed row": 1, "picture not listed": 1}


def test_pope_reads_the_official_lines_with_windows_ends_of_line(tmp_path):
    found = asking(write_pope(tmp_path), "pope", split="random")
    assert [(one.id, one.expected, one.choices) for one in found.questions] == [
        ("1", ("yes",), ("yes", "no")),
        ("2", ("no",), ("yes", "no")),
    ]
    assert chance_of(found.questions, found.metric, found.guess)[0] == 0.5


def test_pope_counts_lines_that_are_no_questions(tmp_path):
    rows = [
        (1, "1.jpg", "Is there a cup?", "yes"),
        "{broken",
        (2, "../1.jpg", "Is there?", "no"),
        (3, "1.jpg", "Is it?", "perhaps"),
    ]
    rows += [(4, "2.jpg", "Is there a cup?", "yes"), (1, "1.jpg", "Is there another?", "yes")]
    found = asking(write_pope(tmp_path, rows), "pope", split="random", max_reject_share=0.9)
    assert len(found.questions) == 1
    assert found.rejects == {
        "malformed row": 2,
        "picture missing": 1,
        "picture path leaves its folder": 1,
        "question listed twice": 1,
    }


def test_short_answers_name_their_metric_and_their_choices(tmp_path):
    root = write_short_answers(tmp_path)
    assert asking(root, "short_answer").metric.name == "exact_match"
    assert asking(root, "short_answer", options={"metric": "anls"}).metric.name == "anls"
    assert asking(root, "short_answer", "sphinx", options={"metric": "relaxed"}).metric.name == "relaxed_sphinx"
    assert asking(root, "short_answer", "sphinx", options={"metric": "anls"}).metric.name == "anls"
    row = {"question_id": 1, "image": "images/0.jpg", "question": "A or B?", "answers": ["A"], "choices": ["A", "B"]}
    bad = [{**row, "answers": []}, {**row, "image": 3}, {**row, "answers": "A"}, [1], {**row, "choices": "AB"}]
    put(root / "mine.jsonl", "\n".join(json.dumps(one) for one in [row, *bad]))
    found = asking(root, "short_answer", split="mine", max_reject_share=0.9)
    assert found.questions[0].choices == ("A", "B")
    assert found.rejects == {"malformed row": 5}


def test_detection_asks_once_a_class_and_keeps_exact_boxes(tmp_path):
    content = instances(2)
    content["annotations"][0]["bbox"] = [8.2, 4, 16, 8]
    content["annotations"][3]["iscrowd"] = 1
    found = asking(write_coco(tmp_path, content), "detection", split="train")
    assert [one.id for one in found.questions] == ["1-cup", "1-dining table", "2-dining table"]
    cups = found.questions[0]
    assert cups.prompt == "Detect all cup shown in the image."
    assert cups.expected == ("There are two cup[0.10,0.05,0.30,0.15;0.50,0.25,0.80,0.45] in the image.",)
    assert cups.expected_boxes[0][0] == 8.2 / 80
    assert cups.group == "cup"
    assert found.rejects == {"class not complete in the picture": 2}
    assert all(found.metric.judge(one.expected[0], one).score == 1 for one in found.questions)


def test_a_pages_layout_is_one_question_with_classes(tmp_path):
    found = asking(write_publaynet(tmp_path), "detection", split="train", options={"family": "publaynet"})
    (page,) = found.questions
    assert page.prompt == "Detect the layout of the document in the image."
    assert page.expected_labels == ("text", "text", "title")
    assert found.metric.judge(page.expected[0], page).score == 1
    limited = {"family": "publaynet", "max_boxes": 2}
    with pytest.raises(DataError, match="1 x too many boxes"):
        asking(tmp_path, "detection", split="train", options=limited)


def test_receipts_ask_for_the_key_fields_and_spotting_for_all_texts(tmp_path):
    root = write_icdar(tmp_path)
    found = asking(root, "receipts", options={"key_fields": True})
    assert [one.group for one in found.questions][:4] == ["company", "date", "address", "total"]
    assert found.questions[3].expected == ("9.00",)
    texts = asking(root, "spotting")
    assert texts.questions[0].expected_labels == ("Genaxis, the theatre", "EXIT")
    assert all(texts.metric.judge(one.expected[0], one).score == 1 for one in texts.questions)


def test_a_limit_keeps_a_fixed_choice_that_a_larger_one_contains(tmp_path):
    root = write_short_answers(tmp_path)
    few, more, every = (asking(root, "short_answer", limit=limit) for limit in (5, 12, None))
    few_ids, more_ids, all_ids = ([one.id for one in found.questions] for found in (few, more, every))
    assert len(few_ids) == 5
    assert set(few_ids) < set(more_ids) < set(all_ids)
    assert few_ids == [one for one in all_ids if one in few_ids]
    assert few_ids != all_ids[:5]


def test_the_digest_follows_content_and_not_the_place(tmp_path):
    first = write_short_answers(tmp_path / "a")
    same = write_short_answers(tmp_path / "b")
    digests = {asking(first, "short_answer").digest, asking(same, "short_answer").digest}
    assert len(digests) == 1
    digests.add(asking(first, "short_answer", "sphinx").digest)
    digests.add(asking(first, "short_answer", options={"max_new_tokens": 3}).digest)
    digests.add(asking(first, "short_answer", limit=7).digest)
    put(same / "images/0.jpg", picture(64, 64, shade=11, kind="PNG"))
    digests.add(asking(same, "short_answer").digest)
    assert len(digests) == 5


def test_a_pickle_that_asks_for_code_stops_the_benchmark(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    root = write_refcoco(tmp_path)
    put(root / "refs(unc).p", pickle.dumps([Evil()]))
    with pytest.raises(DataError, match="download it again"):
        asking(root, "refcoco")
    assert "code ran" not in capsys.readouterr().out


def test_benchmarks_scores_and_gate_need_no_torch():
    blocked = ("torch", "transformers", "timm", "mlflow", "kfp")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}));"
        "import model.evaluate.runner, model.evaluate.gate, model.evaluate.statistics, model.evaluate.benchmarks"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
