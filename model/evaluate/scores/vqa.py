"""VQA accuracy: how many of the ten people said the same, in two of the variants that published numbers come from.

Official: github.com/GT-Vision-Lab/VQA, vqaEvaluation/vqaEval.py at a013f00 (2021). SPHINX's suite took the one of LAVIS
(lavis/common/vqa_tools/vqa_eval.py), which cleans answers otherwise: the same predictions score differently under each.

For each of the ten people: min(1, how many of the other nine gave this answer / 3); the score is the mean over the ten.
"""

import re
from functools import lru_cache

from model.evaluate.scores.base import Asked, Metric, Verdict

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# The originals' look-behind is misspelt, `(?!<=\d)`: it strips every full stop that no digit follows. They also pass a flag where
# the count of replacements belongs: 32 of them at most.
_FULL_STOP = re.compile(r"(?!<=\d)(\.)(?!\d)")
_MOST_FULL_STOPS = 32
_COMMA_IN_NUMBER = re.compile(r"(\d)(,)(\d)")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}
_ARTICLES = ("a", "an", "the")
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd how'll
how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't
she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas
wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contractions() -> dict[str, str]:
    """The originals' table: each contraction under every spelling that lacks one of its apostrophes."""
    table = {"somebody'd": "somebodyd"}  # their one entry that goes the other way
    for word in _CONTRACTED.split():
        for place, character in enumerate(word):
            if character == "'":
                table[word[:place] + word[place + 1 :]] = word
    return table


CONTRACTIONS = _contractions()


def official(answer: str, asked: Asked) -> Verdict:
    """Punctuation, number words, articles and contractions are cleaned on both sides, but only where the ten differ."""
    given = [_one_line(text) for text in asked.expected]
    said = _one_line(answer)
    if len(set(given)) > 1:
        given = [clean(text) for text in given]
        said = clean(said)
    return _verdict(said, given)


def lavis(answer: str, asked: Asked) -> Verdict:
    """The answer is always cleaned, people's answers only of punctuation and only where they differ."""
    given = list(asked.expected)
    said = clean(_one_line(answer))
    if len(set(given)) > 1:
        given = [clean_punctuation(text) for text in given]
    return _verdict(said, given)


@lru_cache(maxsize=1 << 16)
def clean(text: str) -> str:
    """All cleaning of an answer; people repeat themselves."""
    return clean_words(clean_punctuation(text))


@lru_cache(maxsize=1 << 16)
def clean_punctuation(text: str) -> str:
    """Punctuation dropped beside a space or in numbers like 1,000, else turned into a space; full stops dropped."""
    cleaned = text
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        beside_space = mark + " " in text or " " + mark in text
        cleaned = cleaned.replace(mark, "" if beside_space or in_number else " ")
    return _FULL_STOP.sub("", cleaned, count=_MOST_FULL_STOPS)


def clean_words(text: str) -> str:
    """Lower case, digits for number words, no articles, apostrophes back into contractions."""
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _verdict(said: str, given: list[str]) -> Verdict:
    agree = given.count(said)
    # Of those who agree each has agree - 1 others beside him, everybody else has agree.
    score = sum(min(1.0, (agree - (text == said)) / 3) for text in given) / len(given)
    return Verdict(score, said or None)


VQA_OFFICIAL = Metric("vqa", "VQA accuracy (official: GT-Vision-Lab 2021)", official)
VQA_LAVIS = Metric("vqa_lavis", "VQA accuracy (LAVIS's variant, as in SPHINX's suite)", lavis)
