"""Readers of dataset families on hand-written raw rows: what becomes a turn, what is left out, and why."""

import pickle

import pytest

from model.data.sources import SOURCES, source_named
from model.errors import ConfigError, DataError
from tests.support.raw_layouts import (
    FAMILIES,
    WRITERS,
    instances,
    picture,
    put,
    read,
    ref,
    said,
    write_coco,
    write_refcoco,
)


def test_every_family_has_a_line_for_people_and_documented_options():
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.summary
        for field, schema in source.options.model_json_schema()["properties"].items():
            assert schema.get("description"), f"{name}: option {field} has no docstring"


def test_an_unknown_family_lists_those_that_exist():
    with pytest.raises(ConfigError, match="coco_detection, refcoco"):
        source_named("cocoo")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_option_or_a_wrong_root_is_one_sentence(family, tmp_path):
    root = WRITERS[family](tmp_path)
    with pytest.raises(ConfigError, match="unknown field 'colour'"):
        read(root, family, options={"colour": "red"})
    with pytest.raises(Exception, match="check") as caught:
        read(tmp_path / "nowhere", family)
    assert "nowhere" in str(caught.value)


def test_coco_asks_once_a_class_for_all_its_boxes(tmp_path):
    samples, rejects = read(write_coco(tmp_path), "coco_detection")
    assert list(samples) == ["1", "2", "3", "4"]
    assert said(samples["1"]) == [
        ("Detect all cup shown in the image.", "There are two cup[0.10,0.05,0.30,0.15;0.50,0.25,0.80,0.45] in the image."),
        ("Detect all dining table shown in the image.", "There is a dining table[0.00,0.00,1.00,0.50] in the image."),
    ]
    assert samples["1"].pictures[0].annotated_px == (80, 40)
    assert not rejects


def test_coco_with_centre_padding_moves_the_boxes(tmp_path):
    samples, _ = read(write_coco(tmp_path), "coco_detection", padding="centre")
    assert said(samples["1"])[1][1] == "There is a dining table[0.00,0.25,1.00,0.75] in the image."


def test_coco_faults_are_counted_and_the_rest_is_kept(tmp_path):
    content = instances(6)
    rows = content["annotations"]
    rows[0] |= {"bbox": [70, 30, 40, 40]}  # past the edge: clipped
    rows[3] |= {"bbox": [5, 5, 0, 9]}
    rows[6] |= {"iscrowd": 1}
    rows[9] |= {"bbox": rows[10]["bbox"]}
    rows[12] |= {"category_id": 77}
    rows[15] |= {"image_id": 999}
    rows[16] |= {"bbox": "none"}
    rows.append({"id": 500})
    rows.append("what is this")
    content["images"].append({"id": 6, "file_name": "again.jpg", "width": 80, "height": 40})
    content["images"].append({"id": 50, "file_name": "empty.jpg", "width": 80, "height": 40})
    content["images"].append({"id": 51, "file_name": "../../secret.jpg", "width": 80, "height": 40})
    rows.append({"id": 510, "image_id": 51, "category_id": 1, "bbox": [1, 1, 30, 30]})
    samples, rejects = read(write_coco(tmp_path, content), "coco_detection")
    assert "[0.50,0.25,0.80,0.45;0.88,0.38,1.00,0.50]" in said(samples["1"])[0][1]
    assert [question for question, _ in said(samples["3"])] == ["Detect all dining table shown in the image."]
    counted = sorted((reject.reason, reject.kind) for reject in rejects)
    assert counted == [
        ("box doubled", "rule"),
        ("box without area", "part"),
        ("class not complete in the picture", "rule"),
        ("class not complete in the picture", "rule"),
        ("malformed row", "part"),
        ("malformed row", "part"),
        ("malformed row", "part"),
        ("malformed row", "sample"),
        ("picture not listed", "part"),
        ("picture path leaves its folder", "sample"),
        ("picture without annotation", "rule"),
        ("unknown class", "part"),
    ]


def test_a_crowded_picture_gives_several_samples_and_never_a_part_of_a_class(tmp_path):
    root = write_coco(tmp_path)
    samples, _ = read(root, "coco_detection", options={"max_turns": 1})
    assert list(samples)[:2] == ["1", "1-1"]
    samples, rejects = read(root, "coco_detection", options={"max_boxes": 1})
    assert [question for question, _ in said(samples["1"])] == ["Detect all dining table shown in the image."]
    assert {(reject.reason, reject.kind) for reject in rejects} == {("too many boxes of a class", "rule")}


def test_lvis_records_name_their_folder_in_a_url_and_their_unfinished_classes(tmp_path):
    content = instances(1)
    image = content["images"][0]
    del image["file_name"]
    image |= {"coco_url": "http://images.cocodataset.org/train2017/000000000001.jpg", "not_exhaustive_category_ids": [2]}
    put(tmp_path / "lvis_v1_train.json", content)
    put(tmp_path / "coco/train2017/000000000001.jpg", picture(80, 40))
    samples, _ = read(tmp_path, "coco_detection", options={"annotations": "lvis_v1_train.json", "images": "coco"})
    assert samples["1"].pictures[0].uri.endswith("coco/train2017/000000000001.jpg")
    assert [question for question, _ in said(samples["1"])] == ["Detect all cup shown in the image."]


def test_refcoco_groups_the_sentences_of_a_split_by_picture(tmp_path):
    samples, rejects = read(write_refcoco(tmp_path), "refcoco")
    prompt = "Please provide the bounding box coordinate of the region this sentence describes: {}."
    assert list(samples) == ["1", "3"]
    assert said(samples["1"]) == [
        (prompt.format("the left cup"), "[0.10,0.05,0.30,0.15]"),
        (prompt.format("cup on the left"), "[0.10,0.05,0.30,0.15]"),
        (prompt.format("the right cup"), "[0.50,0.25,0.80,0.45]"),
    ]
    assert samples["1"].pictures[0].key == "coco-1"
    assert not rejects


def test_refcoco_leaves_out_what_another_set_holds_for_test(tmp_path):
    root = write_refcoco(tmp_path)
    put(root / "other.p", pickle.dumps([ref(0, 1, 10, "testA", "x"), ref(1, 3, 30, "train", "y")], protocol=2))
    samples, rejects = read(root, "refcoco", options={"excluded_refs": "other.p"})
    assert list(samples) == ["3"]
    assert [(reject.id, reject.kind) for reject in rejects] == [("1", "rule")]


def test_refcoco_counts_broken_refs(tmp_path):
    refs = [ref(0, 1, 10, "train", "cup", " "), ref(1, 1, 999, "train", "x"), {"ref_id": 2}, ref(3, 77, 30, "train", "x")]
    samples, rejects = read(write_refcoco(tmp_path, refs), "refcoco")
    assert len(samples["1"].turns) == 1
    assert sorted((reject.reason, reject.kind) for reject in rejects) == [
        ("annotation not listed", "part"),
        ("empty sentence", "part"),
        ("malformed row", "part"),
        ("picture not listed", "sample"),
    ]


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("content", [pickle.dumps([Evil()]), b"no pickle", pickle.dumps({"a": 1}), pickle.dumps([1])[:-2]])
def test_a_pickle_that_asks_for_code_or_is_broken_is_refused_without_running(content, tmp_path, capsys):
    root = write_refcoco(tmp_path)
    put(root / "refs(unc).p", content)
    with pytest.raises(DataError, match="download it again"):
        read(root, "refcoco")
    assert "code ran" not in capsys.readouterr().out


def test_a_pickle_of_python_2_is_read(tmp_path):
    old = b"(lp0\n(dp1\nS'split'\np2\nS'train'\np3\nsS'image_id'\nI1\nsS'ann_id'\nI10\nsS'sentences'\n(lp4\n(dp5\nS'sent'\nVcaf\\u00e9 cup\nsasa."
    root = write_refcoco(tmp_path)
    put(root / "refs(unc).p", old)
    samples, _ = read(root, "refcoco")
    assert said(samples["1"])[0][0].endswith("café cup.")
