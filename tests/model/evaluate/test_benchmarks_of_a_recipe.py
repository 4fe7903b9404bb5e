"""Benchmarks within a recipe: held-out pictures and no others, and what is found wrong before a model is loaded."""

import pytest

from model.contracts.recipe import BenchmarkSpec, DatasetSpec
from model.data.holdout import is_held_out, picture_key
from model.errors import ConfigError, DataError
from model.evaluate.benchmarks import FITTING, check_benchmark, read_questions
from tests.support.judged import recipe_with, write_pope
from tests.support.raw_layouts import WRITERS, instances, write_coco, write_refcoco
from tests.support.real_data import real_data


@pytest.mark.parametrize("family", sorted(set(FITTING) & set(WRITERS)))
def test_held_out_pictures_of_any_family_are_asked_about_and_no_others(family, tmp_path):
    root = WRITERS[family](tmp_path)
    train = DatasetSpec(name="set", family=family, root=str(root), held_out_share=0.99)
    spec = BenchmarkSpec(name="asked", benchmark="held_out", held_out_of="set")
    found = read_questions(recipe_with(spec, datasets=(train,)), "asked", "official")
    assert found.benchmark == FITTING[family]
    keys = {one.picture.key for one in found.questions}
    assert keys
    assert all(is_held_out(key, 0, 0.99) for key in keys)
    for one in found.questions:
        assert found.metric.judge(one.expected[0], one).score > 0


def test_a_picture_trained_on_is_not_asked_about(tmp_path):
    root = write_coco(tmp_path, instances(40))
    train = DatasetSpec(name="set", family="coco_detection", root=str(root), held_out_share=0.3)
    spec = BenchmarkSpec(name="asked", benchmark="detection", held_out_of="set")
    found = read_questions(recipe_with(spec, datasets=(train,)), "asked", "official")
    wanted = {key for n in range(1, 41) if is_held_out(key := picture_key(f"{n:012d}.jpg"), 0, 0.3)}
    assert {one.picture.key for one in found.questions} == wanted
    assert 0 < len(wanted) < 40


def test_real_held_out_pages_receipts_and_papers_can_be_asked_about():
    root = real_data()
    datasets = (
        DatasetSpec(
            name="receipts", family="icdar_spotting", root=f"{root}/receipts", held_out_share=0.2, options={"key_fields": True}
        ),
        DatasetSpec(name="pages", family="publaynet", root=f"{root}/pages", held_out_share=0.5),
    )
    specs = [
        BenchmarkSpec(name="fields", benchmark="receipts", held_out_of="receipts"),
        BenchmarkSpec(name="texts", benchmark="held_out", held_out_of="receipts"),
        BenchmarkSpec(name="layout", benchmark="held_out", held_out_of="pages"),
        BenchmarkSpec(name="cells", benchmark="detection", root=f"{root}/cells"),
    ]
    recipe = recipe_with(*specs, datasets=datasets)
    found = {spec.name: read_questions(recipe, spec.name, "official") for spec in specs}
    assert len(found["cells"].questions) > 150
    assert {one.group for one in found["fields"].questions} == {"company", "date", "address", "total"}
    for one in found.values():
        assert sum(one.metric.judge(q.expected[0], q).score for q in one.questions) == pytest.approx(len(one.questions))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"benchmark": "vqa"}, "there is no benchmark 'vqa'; choose one of vqav2, refcoco, pope"),
        ({"benchmark": "pope", "options": {"colour": 1}}, "unknown field 'colour'; the fields are images, max_new_tokens"),
        ({"benchmark": "vqav2", "options": {"groups": "colour"}}, "field 'groups'"),
        ({"benchmark": "held_out"}, "give held_out_of"),
        (
            {"benchmark": "pope", "root": "", "held_out_of": "set"},
            "pope cannot ask about dataset set of the family text_dialogue",
        ),
        ({"benchmark": "held_out", "root": "", "held_out_of": "set"}, "no benchmark fits dataset set"),
    ],
)
def test_what_would_stop_a_benchmark_is_one_sentence_with_what_exists(fields, words, tmp_path):
    train = DatasetSpec(name="set", family="text_dialogue", root="nowhere", held_out_share=0.1)
    spec = BenchmarkSpec(**{"name": "asked", "root": str(write_pope(tmp_path)), **fields})
    with pytest.raises(ConfigError) as caught:
        check_benchmark(spec, recipe_with(spec, datasets=(train,)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_of_the_reader_belongs_to_the_dataset_that_is_held_out(tmp_path):
    train = DatasetSpec(name="set", family="coco_detection", root=str(write_coco(tmp_path)), held_out_share=0.5)
    spec = BenchmarkSpec(name="asked", benchmark="detection", held_out_of="set", options={"images": "train"})
    with pytest.raises(ConfigError, match="belong to dataset set"):
        check_benchmark(spec, recipe_with(spec, datasets=(train,)))


def test_a_missing_file_is_found_without_reading_questions(tmp_path):
    spec = BenchmarkSpec(name="asked", benchmark="pope", root=str(write_pope(tmp_path)), split="popular")
    with pytest.raises(DataError, match="coco_pope_popular.json"):
        check_benchmark(spec, recipe_with(spec))


def test_asking_about_what_was_trained_on_is_refused(tmp_path):
    root = write_coco(tmp_path / "coco")
    train = DatasetSpec(name="set", family="coco_detection", root=f"{root}/../coco", split="train")
    spec = BenchmarkSpec(name="asked", benchmark="detection", root=str(root), split="train")
    with pytest.raises(ConfigError, match="would ask about what dataset set trains on"):
        check_benchmark(spec, recipe_with(spec, datasets=(train,)))
    refs = write_refcoco(tmp_path / "ref")
    train = DatasetSpec(name="set", family="refcoco", root=str(refs), split="train")
    spec = BenchmarkSpec(name="asked", benchmark="refcoco", root=str(refs), split="val")
    check_benchmark(spec, recipe_with(spec, datasets=(train,)))
