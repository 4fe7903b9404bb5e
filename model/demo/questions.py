"""Questions about a scene and their true answers: one wording for each skill, shared by training data and benchmarks."""

from dataclasses import dataclass

import numpy as np

from model.demo.scenes import COLOURS, SHAPES, Scene, Thing

READING = "What word is written in the picture?"
COUNTING = "How many shapes are there?"


@dataclass(frozen=True)
class Asked:
    """A bare question (no prompt suffix) and its answer."""

    skill: str
    """colour, shape, count, presence or reading."""
    question: str
    answer: str


def article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def ask_colour(thing: Thing) -> Asked:
    return Asked("colour", f"What color is the {thing.shape}?", thing.colour)


def ask_shape(thing: Thing) -> Asked:
    return Asked("shape", f"What shape is {thing.colour}?", thing.shape)


def ask_count(scene: Scene) -> Asked:
    return Asked("count", COUNTING, str(len(scene.things)))


def ask_presence(scene: Scene, shape: str) -> Asked:
    here = any(thing.shape == shape for thing in scene.things)
    return Asked("presence", f"Is there {article(shape)} {shape} in the image?", "yes" if here else "no")


def ask_reading(scene: Scene) -> Asked:
    return Asked("reading", READING, scene.word.text)


def presence_pair(scene: Scene, rng: np.random.Generator) -> tuple[Asked, Asked]:
    """A question whose answer is yes and one whose answer is no: at most four of the five shapes are in a scene."""
    here = [thing.shape for thing in scene.things]
    absent = [shape for shape in SHAPES if shape not in here]
    return ask_presence(scene, here[rng.integers(len(here))]), ask_presence(scene, absent[rng.integers(len(absent))])


def all_questions(scene: Scene, rng: np.random.Generator) -> list[Asked]:
    """Every colour, every shape, the count, the word, and as many presences as absences; in a shuffled order."""
    here = [thing.shape for thing in scene.things]
    absent = [shape for shape in SHAPES if shape not in here]
    num_pairs = min(len(here), len(absent), 2)
    presence = [here[i] for i in rng.permutation(len(here))[:num_pairs]] + [
        absent[i] for i in rng.permutation(len(absent))[:num_pairs]
    ]
    asked = [
        *(ask_colour(thing) for thing in scene.things),
        *(ask_shape(thing) for thing in scene.things),
        *(ask_presence(scene, shape) for shape in presence),
        ask_count(scene),
        ask_reading(scene),
    ]
    return [asked[i] for i in rng.permutation(len(asked))]


def expressions(thing: Thing) -> list[str]:
    """Two ways to point to a thing; each is true of it alone, as shapes and colours differ within a scene."""
    return [thing.name, f"the {thing.shape}"]


COLOUR_NAMES = tuple(COLOURS)
