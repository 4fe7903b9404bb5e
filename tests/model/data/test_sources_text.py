"""Readers of questions, texts, dialogues and pages on hand-written raw rows; JSON of any size."""

import json

import pytest

from model.data.prompts import short_question
from model.data.sources.files import json_rows
from model.errors import DataError
from tests.support.raw_layouts import (
    answers,
    picture,
    put,
    read,
    said,
    write_icdar,
    write_llava,
    write_publaynet,
    write_text,
    write_vqav2,
)


def test_vqav2_joins_the_questions_of_a_picture_and_takes_the_majority_answer(tmp_path):
    samples, rejects = read(write_vqav2(tmp_path), "vqav2")
    assert said(samples["7"]) == [(short_question("What is this?"), "cup"), (short_question("Is it red?"), "no")]
    assert samples["7"].pictures[0].uri.endswith("train2014/COCO_train2014_000000000007.jpg")
    assert not rejects


def test_vqav2_counts_questions_without_answers_and_rows_that_are_none(tmp_path):
    root = write_vqav2(tmp_path)
    rows = [{"question_id": 7000, "answers": answers("cup")}, {"question_id": 9000, "answers": []}, "row"]
    put(root / "v2_mscoco_train2014_annotations.json", {"annotations": rows})
    samples, rejects = read(root, "vqav2")
    assert list(samples) == ["7"]
    assert len(samples["7"].turns) == 1
    assert sorted((reject.reason, reject.kind) for reject in rejects) == [
        ("no answer", "part"),
        ("no answer", "part"),
        ("no question left", "sample"),
        ("question without answer", "part"),
        ("question without answer", "part"),
    ]


def test_icdar_reads_marks_commas_and_odd_encodings(tmp_path):
    samples, rejects = read(write_icdar(tmp_path), "icdar_spotting")
    question = "Detect all regions in the image that contain text and identify their content."
    assert said(samples["img_1"]) == [
        (question, "There are Genaxis, the theatre[0.08,0.10,0.40,0.20] and EXIT[0.60,0.12,0.90,0.22] in the image.")
    ]
    assert said(samples["img_2"]) == [(question, "There is Café[0.10,0.10,0.50,0.20] in the image.")]
    assert sorted(reject.reason for reject in rejects) == ["do-not-care region", "text is not UTF-8, read as Latin-1"]


def test_icdar_asks_for_the_key_fields_first(tmp_path):
    samples, _ = read(write_icdar(tmp_path), "icdar_spotting", options={"key_fields": True})
    assert [answer for _, answer in said(samples["img_1"])][:4] == ["GENAXIS", "01/02/2018", "1, A ROAD", "9.00"]
    assert all(question.endswith("single word or phrase.") for question, _ in said(samples["img_1"])[:4])


def test_icdar_cuts_a_long_picture_between_rows_and_names_each_band(tmp_path):
    root = write_icdar(tmp_path)
    rows = [(y, x) for y in range(10, 90, 10) for x in (5, 50)]
    text = "\n".join(f"{x},{y},{x + 30},{y},{x + 30},{y + 8},{x},{y + 8},t{y}.{x}" for y, x in rows)
    put(root / "gt/gt_img_2.txt", text)
    samples, _ = read(root, "icdar_spotting", options={"max_lines": 5})
    parts = [sample for name, sample in samples.items() if name.startswith("img_2")]
    assert [sample.id for sample in parts] == ["img_2", "img_2-1", "img_2-2", "img_2-3"]
    together = " ".join(sample.turns[0].answer for sample in parts)
    assert all(together.count(f"t{y}.{x}[") == 1 for y, x in rows)
    assert "in the area [0.05,0.00,0.80," in parts[0].turns[0].question


def test_icdar_counts_what_has_no_partner_or_no_sense(tmp_path):
    root = write_icdar(tmp_path)
    put(root / "gt/gt_lonely.txt", "1,1,9,1,9,9,1,9,x\n")
    put(root / "images/unread.jpg", picture(30, 30))
    put(root / "gt/gt_img_2.txt", "no numbers,here\n10,10,50,10,50,20,10,20,\n10,10,50,10,50,20,10,20,fine\n")
    put(root / "images/broken.jpg", b"this is no picture")
    put(root / "gt/gt_broken.txt", "1,1,9,1,9,9,1,9,x\n")
    samples, rejects = read(root, "icdar_spotting")
    assert set(samples) == {"img_1", "img_2"}
    assert sorted((reject.reason, reject.kind) for reject in rejects if reject.kind != "rule") == [
        ("empty transcript", "part"),
        ("malformed row", "part"),
        ("no gt file", "sample"),
        ("picture missing", "sample"),
        ("picture unreadable", "sample"),
    ]


def test_icdar_corners_of_a_turned_photograph_decide_its_frame(tmp_path):
    root = write_icdar(tmp_path)
    put(root / "images/img_1.jpg", picture(80, 100, orientation=6))  # upright it is 100 x 80
    samples, _ = read(root, "icdar_spotting")
    assert samples["img_1"].pictures[0].annotated_px == (100, 80)


def test_llava_keeps_turns_and_boxes_and_takes_the_picture_mark_out(tmp_path):
    samples, rejects = read(write_llava(tmp_path), "llava")
    assert said(samples["0000000.a"]) == [("What is this?", "A cup at [0.10,0.20,0.30,0.40]."), ("Its colour?", "Blue.")]
    assert samples["0000000.a"].pictures[0].key == "coco-1"
    assert samples["0000001.b"].pictures == ()
    assert not rejects


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "malformed row"),
        ({"conversations": []}, "no answer"),
        ({"conversations": [{"from": "human", "value": "?"}]}, "no answer"),
        ({"conversations": [{"from": "gpt", "value": "hi"}]}, "roles do not alternate"),
        ({"conversations": [{"from": "human", "value": " <image> "}, {"from": "gpt", "value": "x"}]}, "empty turn"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "unknown role"),
        ({"conversations": [{"from": "human", "value": 3}, {"from": "gpt", "value": "x"}]}, "malformed row"),
        ({"weather": "fine"}, "malformed row"),
        (
            {"image": "../x.jpg", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "x"}]},
            "picture path leaves its folder",
        ),
    ],
)
def test_llava_rows_that_hold_no_dialogue_are_rejected_with_the_reason(row, reason, tmp_path):
    put(tmp_path / "rows.json", [row])
    samples, rejects = read(tmp_path, "llava")
    assert not samples
    assert [(reject.reason, reject.kind) for reject in rejects] == [(reason, "sample")]


def test_text_reads_the_forms_of_the_public_sets(tmp_path):
    root = write_text(tmp_path)
    more = [
        {"query": "1+1?", "response": "2", "type": "GSM_AnsAug"},
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
            ]
        },
    ]
    put(root / "train_2.jsonl", "\n".join([json.dumps(more[0]), "{broken", json.dumps(more[1])]))
    samples, rejects = read(root, "text_dialogue")
    assert {name: said(sample) for name, sample in samples.items()} == {
        "train_0.00000000": [("What is training?", "It means ..."), ("And then?", "Rest.")],
        "train_0.00000001": [("You are brief.\n\nCapital of France?", "Paris.")],
        "train_1.00000000": [("Add.\n\n1 and 2", "3")],
        "train_2.00000000": [("1+1?", "2")],
        "train_2.00000002": [("S\n\nu", "a")],
    }
    assert [(reject.id, reject.reason) for reject in rejects] == [("train_2.00000001", "malformed row")]


def test_text_of_a_long_dialogue_is_cut_between_turns(tmp_path):
    samples, _ = read(write_text(tmp_path), "text_dialogue", options={"max_turns": 1})
    assert list(samples)[:2] == ["train_0.00000000", "train_0.00000000-1"]


def test_publaynet_answers_with_all_regions_by_class(tmp_path):
    samples, _ = read(write_publaynet(tmp_path), "publaynet")
    assert said(samples["5"]) == [
        (
            "Detect the layout of the document in the image.",
            "There are two text[0.10,0.20,0.70,0.40;0.10,0.45,0.70,0.95] and title[0.10,0.05,0.70,0.15] in the image.",
        )
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", '{"images": [{"id": 1}', "<html>", '{"images": []} more', '[{"a": 1} {"b": 2}]']
)
def test_json_that_is_not_whole_is_one_sentence(text, tmp_path):
    with pytest.raises(DataError, match="not whole JSON.*download or write the file again"):
        list(json_rows(str(put(tmp_path / "x.json", text))))


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64, 1 << 20])
def test_json_is_streamed_the_same_whatever_the_pieces(chunk_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr("model.data.sources.files._CHUNK_BYTES", chunk_bytes)
    content = {"a": [1, 23.5, "x\u00e9\u20ac", {"b": [1, 2]}, [], None], "c": {"d": 1}, "e": [], "f": 12}
    rows = list(json_rows(str(put(tmp_path / "x.json", json.dumps(content, ensure_ascii=False, indent=1)))))
    assert rows == [("a", element) for element in content["a"]] + [("c", {"d": 1}), ("f", 12)]
