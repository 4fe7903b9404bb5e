"""Dialogues of several turns: about a scene (as LLaVA's), and without a picture (sums, spelling, mixing colours)."""

import numpy as np

from model.data.boxes import box_numbers
from model.data.prompts import detection_answer, detection_question, enumerate_in_words, referring_question, short_question
from model.demo.questions import all_questions, article, expressions
from model.demo.scenes import SHAPES, WORDS, Box, Scene, Thing

DESCRIBE = "Describe the picture."
_DETECTION_SHARE, _DESCRIBING_SHARE = 0.5, 0.3
_MIXTURES = {
    ("red", "yellow"): "orange",
    ("red", "blue"): "purple",
    ("blue", "yellow"): "green",
}
_CORNERS = {"circle": "none", "square": "4", "triangle": "3", "cross": "12", "ring": "none"}
_TEXT_TURNS = 8
_TEXT_DIALOGUES = 600


def instruction_turns(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Questions of all kinds about one picture, each with its own prompt, as in LLaVA-1.5's mix; sometimes after a description."""
    turns = [(short_question(one.question), one.answer) for one in all_questions(scene, rng)]
    for place in rng.permutation(len(scene.things))[:2]:
        thing = scene.things[place]
        box, said = box_in_text(scene, thing.box), expressions(thing)
        turns.append((referring_question(said[rng.integers(len(said))]), f"[{box}]"))
        if rng.random() < _DETECTION_SHARE:
            turns.append((detection_question(thing.shape), detection_answer(thing.shape, [box])))
    turns = [turns[i] for i in rng.permutation(len(turns))]
    return [(DESCRIBE, description(scene)), *turns] if rng.random() < _DESCRIBING_SHARE else turns


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
