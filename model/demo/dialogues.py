"""Dialogues of several turns: about a scene (as LLaVA's), and without a picture (sums, spelling, mixing colours)."""

import numpy as np

from model.data.prompts import enumerate_in_words
from model.demo.questions import article
from model.demo.scenes import SHAPES, WORDS, Scene, Thing

DESCRIBE = "Describe the picture."
WHERE = "Where is the {}?"
SAY_PLACE = "It is at {}."
_MIXTURES = {
    ("red", "yellow"): "orange",
    ("red", "blue"): "purple",
    ("blue", "yellow"): "green",
}
_CORNERS = {"circle": "none", "square": "4", "triangle": "3", "cross": "12", "ring": "none"}
_TEXT_TURNS = 8
_TEXT_DIALOGUES = 600


def instruction_turns(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """What is in the picture, then where some of the things are."""
    shown = [thing_with_article(thing) for thing in sorted(scene.things, key=lambda thing: SHAPES.index(thing.shape))]
    said = f"There {'is' if len(shown) == 1 else 'are'} {enumerate_in_words(shown)}. The word is {scene.word.text}."
    turns = [(DESCRIBE, said)]
    for place in rng.permutation(len(scene.things))[:2]:
        thing = scene.things[place]
        turns.append((f"What is the {thing.colour} thing?", f"It is {thing_with_article(thing)}."))
        turns.append((f"What can you say about the {thing.shape}?", f"It is {thing.colour}."))
    return turns


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
