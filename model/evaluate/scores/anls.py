"""ANLS: one minus the edit distance to the nearest accepted answer, in shares of the longer text.

Official: the scorer of the Robust Reading Competition for DocVQA and InfographicVQA (rrc.cvc.uab.es, challenge 17,
infographicsvqa_eval.py): lower case and single blanks for the distance, the raw texts' lengths under the line, and 0 for what is
below 0.5. For whole paragraphs the same without a threshold: 1 - CER as far as that is positive.
"""

from collections.abc import Callable

from model.evaluate.scores.base import Asked, Metric, Verdict

THRESHOLD = 0.5


def edit_distance(first: str, second: str) -> int:
    """Levenshtein distance; all cells of a column at once, as bits of one number.

    Source: H. Hyyrö, Explaining and extending the bit-parallel approximate string matching algorithm of Myers, 2001.
    """
    if not first or not second:
        return len(first) or len(second)
    places: dict[str, int] = {}
    for place, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << place
    ones, last = (1 << len(first)) - 1, 1 << len(first) - 1
    rises, falls, distance = ones, 0, len(first)
    for character in second:
        equal = places.get(character, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        up = falls | ~(diagonal | rises) & ones
        down = rises & diagonal
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & ones, down << 1 & ones
        rises, falls = down | ~(diagonal | up) & ones, up & diagonal
    return distance


def similarity(answer: str, accepted: str) -> float:
    """1 for equal texts, 0 for wholly different ones."""
    distance = edit_distance(_folded(accepted), _folded(answer))
    # Upper case as in the original: it changes the length of a few letters.
    length = max(len(accepted.upper()), len(answer.upper()))
    return 1.0 - (distance / length if length else 0.0)


def _folded(text: str) -> str:
    return " ".join(text.strip().lower().split())


def _judge(threshold: float) -> Callable[[str, Asked], Verdict]:
    def judge(answer: str, asked: Asked) -> Verdict:
        best = max(similarity(answer, text) for text in asked.expected)
        return Verdict(best if best >= threshold else 0.0, _folded(answer) or None)

    return judge


ANLS = Metric("anls", "ANLS at threshold 0.5 (official: Robust Reading Competition)", _judge(THRESHOLD))
EDIT_SIMILARITY = Metric("edit_similarity", "edit similarity (ANLS without a threshold)", _judge(0.0))
