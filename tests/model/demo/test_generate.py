"""The demo's raw data: official layouts, true labels, the same bytes from the same seed, held-out scenes apart."""

import json
from pathlib import Path

import pytest
import yaml

from model.contracts.corpus import Reject
from model.contracts.recipe import DatasetSpec, Recipe
from model.data.sources import SOURCES
from model.data.sources.base import RawSample
from model.demo.generate import MARKER_FILE, DemoSize, scene_seed, write_raw
from model.demo.layouts import FIRST_HELD_OUT_ID, FOLDERS, num_scenes
from model.demo.scenes import Scene, draw, encode, make_scene
from model.errors import DataError
from model.evaluate.benchmarks import read_questions

SIZE = DemoSize(train_scenes=30, held_out_scenes=20)
RECIPE = Path("pipelines/recipes/demo.yaml")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "raw"
    write_raw(folder, seed=5, size=SIZE, processes=1)
    return folder


@pytest.fixture(scope="module")
def recipe(raw: Path) -> Recipe:
    fields = yaml.safe_load(RECIPE.read_text())
    for entry in fields["datasets"] + fields["benchmarks"]:
        entry["root"] = str(raw / entry["root"])
    return Recipe.from_fields(fields, "demo")


def samples_of(spec: DatasetSpec) -> tuple[list[RawSample], list[Reject]]:
    found = list(SOURCES[spec.family].read(spec, 0, "corner"))
    samples = [one for one in found if isinstance(one, RawSample)]
    return samples, [one for one in found if isinstance(one, Reject)] + [r for one in samples for r in one.left_out]


def test_the_recipes_readers_take_every_sample_of_all_six_families(recipe):
    assert {dataset.family for dataset in recipe.datasets} == {
        "coco_detection", "refcoco", "vqav2", "icdar_spotting", "llava", "text_dialogue",
    }  # fmt: skip
    for dataset in recipe.datasets:
        samples, rejects = samples_of(dataset)
        assert rejects == []
        if dataset.family != "text_dialogue":
            assert len(samples) == num_scenes(dataset.name, SIZE.train_scenes), dataset.name


def test_every_benchmark_of_the_recipe_can_ask_and_refuses_nothing(recipe):
    for spec in recipe.benchmarks:
        asked = read_questions(recipe, spec.name, "official")
        assert asked.rejects == {}, spec.name
        assert len(asked.questions) >= SIZE.held_out_scenes, spec.name


def test_every_picture_of_every_reader_lies_where_it_says(recipe):
    for dataset in recipe.datasets:
        for sample in samples_of(dataset)[0]:
            assert all(Path(picture.uri).is_file() for picture in sample.pictures)


def test_equal_seeds_give_equal_bytes_whatever_the_number_of_processes(raw, tmp_path):
    assert (
        write_raw(tmp_path / "again", seed=5, size=SIZE, processes=2) == json.loads((raw / MARKER_FILE).read_text())["digest"]
    )


def test_other_seeds_give_other_bytes(raw, tmp_path):
    other = write_raw(tmp_path / "other", seed=6, size=SIZE, processes=1)
    assert other != json.loads((raw / MARKER_FILE).read_text())["digest"]


def test_a_finished_folder_is_left_as_it_is(raw):
    picture = next((raw / "coco/train").glob("*.jpg"))
    before = picture.stat().st_mtime_ns
    write_raw(raw, seed=5, size=SIZE)
    assert picture.stat().st_mtime_ns == before


@pytest.mark.parametrize("left", ["half a marker", "no digest"])
def test_an_interrupted_folder_is_made_again(tmp_path, left):
    size = DemoSize(train_scenes=3, held_out_scenes=2)
    digest = write_raw(tmp_path / "raw", seed=5, size=size, processes=1)
    marker = tmp_path / "raw" / MARKER_FILE
    marker.write_text(
        '{"made_of"' if left == "half a marker" else json.dumps({**json.loads(marker.read_text()), "digest": None})
    )
    next((tmp_path / "raw/llava/images").glob("*.jpg")).unlink()
    assert write_raw(tmp_path / "raw", seed=5, size=size, processes=1) == digest
    assert len(list((tmp_path / "raw/llava/images").glob("*.jpg"))) == size.train_scenes


def test_someone_elses_folder_is_not_touched(tmp_path):
    mine = tmp_path / "coco" / "precious.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(DataError, match="folder of its own"):
        write_raw(tmp_path, size=SIZE)
    assert mine.read_text() == "mine"


def test_no_training_picture_is_asked_about(raw):
    of_training = {path.read_bytes() for path in (raw / "llava/images").iterdir()}
    held_out = {path.read_bytes() for path in (raw / "coco/val").iterdir()}
    assert len(of_training) == SIZE.train_scenes
    assert len(held_out) == SIZE.held_out_scenes
    assert not of_training & held_out
    for folder in ("coco/train", "vqav2/images/train2014", "icdar/images"):
        assert {path.read_bytes() for path in (raw / folder).iterdir()} < of_training


def test_train_test_dev_and_encoder_scenes_come_from_different_seeds_of_every_demo():
    seeds = [scene_seed(seed, part) for seed in range(3) for part in ("train", "test", "dev", "encoders")]
    assert len(set(seeds)) == len(seeds)


def test_wide_and_tall_pictures_are_among_them(raw):
    sizes = {(scene.width, scene.height) for scene in scenes("train", SIZE.train_scenes).values()}
    assert sizes == {(256, 256), (256, 128), (128, 256)}


def test_half_of_the_presence_answers_are_yes(raw):
    labels = [json.loads(line)["label"] for line in (raw / "pope/val.json").read_text().splitlines()]
    assert labels.count("yes") == labels.count("no") == SIZE.held_out_scenes


def test_every_answer_follows_from_the_scene_that_the_picture_was_drawn_from(recipe):
    train = scenes("train", SIZE.train_scenes)
    for dataset in recipe.datasets:
        if dataset.family == "text_dialogue":
            continue
        for sample in samples_of(dataset)[0]:
            scene = train[int(sample.id.split(".")[-1].removeprefix("img_"))]
            assert Path(sample.pictures[0].uri).read_bytes() == encode(draw(scene))
            for turn in sample.turns:
                assert_true(scene, turn.question, turn.answer)


def test_every_accepted_answer_of_a_benchmark_follows_from_its_scene(recipe):
    held_out = scenes("test", SIZE.held_out_scenes)
    for spec in recipe.benchmarks:
        for question in read_questions(recipe, spec.name, "official").questions:
            number = int(Path(question.picture.uri).stem.rsplit("_", 1)[-1]) - FIRST_HELD_OUT_ID
            assert Path(question.picture.uri).read_bytes() == encode(draw(held_out[number]))
            for expected in question.expected:
                assert_true(held_out[number], question.prompt, expected)


def test_the_marker_and_eight_folders_are_all_there_is(raw):
    assert sorted(path.name for path in raw.iterdir()) == sorted([*FOLDERS, MARKER_FILE])


def scenes(part: str, number: int) -> dict[int, Scene]:
    return {index: make_scene(scene_seed(5, part), index) for index in range(number)}


def assert_true(scene: Scene, question: str, answer: str) -> None:
    """Judge an answer by the scene alone: no code of the generator's questions is used."""
    question = question.removesuffix("\nAnswer the question using a single word or phrase.")
    colour_of = {thing.shape: thing.colour for thing in scene.things}
    shape_of = {thing.colour: thing.shape for thing in scene.things}
    box_of = {thing.shape: box_in_square(scene, thing.box) for thing in scene.things}
    last = question.rstrip("?.").split()[-1]
    if question.startswith("What color is the "):
        assert answer == colour_of[last]
    elif question.startswith("What shape is "):
        assert answer == shape_of[last]
    elif question == "How many shapes are there?":
        assert answer == str(len(scene.things))
    elif question.startswith("Is there a"):
        assert answer == ("yes" if question.split()[3] in colour_of else "no")
    elif question == "What word is written in the picture?":
        assert answer == scene.word.text
    elif question.startswith("Detect all regions"):
        assert answer == f"There is {scene.word.text}{box_in_square(scene, scene.word.box)} in the image."
    elif question.startswith("Detect all "):
        shape = question.split()[2]
        assert answer == f"There is a {shape}{box_of[shape]} in the image."
    elif question.startswith("Please provide the bounding box"):
        assert answer in (box_of[last], exact_box(scene, last))
    else:
        assert_true_of_dialogue(scene, question, answer, colour_of)


def assert_true_of_dialogue(scene: Scene, question: str, answer: str, colour_of: dict[str, str]) -> None:
    said = answer.replace(".", "").replace(",", "").split()
    named = {
        (said[i], said[i + 1]) for i in range(len(said) - 1) if said[i + 1] in {"circle", "square", "triangle", "cross", "ring"}
    }
    if question == "Describe the picture.":
        assert named == {(thing.colour, thing.shape) for thing in scene.things}
        assert said[-1] == scene.word.text
    elif question.startswith("What is the "):
        assert named == {(thing.colour, thing.shape) for thing in scene.things if thing.colour == question.split()[3]}
    else:
        assert question.startswith("What can you say about the ")
        assert said[-1] == colour_of[question.rstrip("?").split()[-1]]


def box_in_square(scene: Scene, box: tuple[int, ...]) -> str:
    return "[" + ",".join(f"{value / max(scene.width, scene.height):.2f}" for value in box) + "]"


def exact_box(scene: Scene, shape: str) -> str:
    """The benchmark keeps true boxes unrounded; its text form may have more digits."""
    thing = next(thing for thing in scene.things if thing.shape == shape)
    return box_in_square(scene, thing.box)
