"""Dialogues of several turns: about a scene (as LLaVA's), and without a picture (sums, spelling, mixing colours)."""

import numpy as np

from model.data.boxes import box_numbers
from model.data.prompts import (
    SPOTTING,
    detection_answer,
    detection_question,
    enumerate_in_words,
    referring_question,
    short_question,
    spotting_answer,
)
from model.demo.questions import all_questions, article
from model.demo.scenes import SHAPES, WORDS, Box, Scene, Thing

DESCRIBE = "Describe the picture."
_REFERRING_SHARE, _DETECTION_SHARE, _SPOTTING_SHARE, _DESCRIBING_SHARE = 0.5, 0.25, 0.3, 0.1
_MIXTURES = {
    ("red", "yellow"): "orange",
    ("red", "blue"): "purple",
    ("blue", "yellow"): "green",
}
_CORNERS = {"circle": "none", "square": "4", "triangle": "3", "cross": "12", "ring": "none"}
_TEXT_TURNS = 8
_TEXT_DIALOGUES = 600


def instruction_turns(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Questions of all kinds about one picture, each with its own prompt, as in LLaVA-1.5's mix.

    A picture is either described, or asked about so that no answer can be read off an earlier turn: a thing whose colour or
    shape is asked for is not called by both, and its box is asked for once.
    """
    if rng.random() < _DESCRIBING_SHARE:
        return [(DESCRIBE, description(scene))]
    asked = all_questions(scene, rng)
    turns = [(short_question(one.question), one.answer) for one in asked]
    for thing in scene.things:
        box = box_in_text(scene, thing.box)
        kind = rng.random()
        if kind < _REFERRING_SHARE:
            turns.append((referring_question(f"the {thing.shape}"), f"[{box}]"))
        elif kind < _REFERRING_SHARE + _DETECTION_SHARE:
            turns.append((detection_question(thing.shape), detection_answer(thing.shape, [box])))
    if rng.random() < _SPOTTING_SHARE:
        turns.append((SPOTTING, spotting_answer([(scene.word.text, box_in_text(scene, scene.word.box))])))
    num_presence = sum(one.skill == "presence" for one in asked)
    return turns[:num_presence] + [turns[num_presence + i] for i in rng.permutation(len(turns) - num_presence)]


def description(scene: Scene) -> str:
    """All things, then the word."""
    shown = [thing_with_article(thing) for thing in sorted(scene.things, key=lambda thing: SHAPES.index(thing.shape))]
    return f"There {'is' if len(shown) == 1 else 'are'} {enumerate_in_words(shown)}. The word is {scene.word.text}."


def box_in_text(scene: Scene, box: Box) -> str:
    """Four coordinates of the square with the picture at its top left: the demo's recipe pads that way."""
    return box_numbers(box, scene.width, scene.height, "corner")


def thing_with_article(thing: Thing) -> str:
    return f"{article(thing.colour)} {thing.name}"


def text_facts() -> list[tuple[str, str]]:
    """Everything that can be asked without a picture."""
    sums = [(f"What is {a} plus {b}?", str(a + b)) for a in range(10) for b in range(10)]
    spelling = [(f"How do you spell {word}?", " ".join(word)) for word in WORDS]
    mixtures = [
        (f"What color do {first} and {second} make?", mixed)
        for pair, mixed in _MIXTURES.items()
        for first, second in (pair, pair[::-1])
    ]
    corners = [(f"How many corners does a {shape} have?", number) for shape, number in _CORNERS.items()]
    return [*sums, *spelling, *mixtures, *corners]


def text_dialogues() -> list[list[str]]:
    """Dialogues as alternating questions and answers; every fact comes several times, in other company."""
    facts = text_facts()
    rng = np.random.default_rng(0)
    dialogues, deck = [], []
    for _ in range(_TEXT_DIALOGUES):
        if len(deck) < _TEXT_TURNS:
            deck += [facts[i] for i in rng.permutation(len(facts))]
        dialogues.append([text for turn in deck[:_TEXT_TURNS] for text in turn])
        del deck[:_TEXT_TURNS]
    return dialogues
