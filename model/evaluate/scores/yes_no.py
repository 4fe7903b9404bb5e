"""POPE: yes or no about an object that is, or is not, in the picture.

Official: github.com/AoiDragon/POPE, evaluate.py; LLaVA's llava/eval/eval_pope.py has the same rules. An answer is no if one of
the words No, no, not occurs in it before the first full stop, commas aside; everything else is a yes, gibberish included. So
the share of yes is always shown, and answers with neither word are counted as parse failures.
"""

from collections.abc import Sequence

from model.contracts.evaluation import Prediction
from model.evaluate.scores.base import Asked, Metric, Verdict


def says_no(answer: str) -> bool:
    """Whether POPE's rule reads a no."""
    words = _words(answer)
    return "No" in words or "not" in words or "no" in words


def judge(answer: str, asked: Asked) -> Verdict:
    """1 where the rule reads the expected word."""
    said = "no" if says_no(answer) else "yes"
    readable = said == "no" or any(word.lower() == "yes" for word in _words(answer))
    return Verdict(float(said == asked.expected[0].lower()), said if readable else None)


def further(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Precision, recall and F1 of yes, and its share among the answers; what cannot be divided is 0."""
    says_yes = [not says_no(one.answer) for one in predictions]
    is_yes = [one.expected[0].lower() == "yes" for one in predictions]
    both = sum(said and true for said, true in zip(says_yes, is_yes, strict=True))
    precision = both / sum(says_yes) if any(says_yes) else 0.0
    recall = both / sum(is_yes) if any(is_yes) else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if both else 0.0,
        "yes_share": sum(says_yes) / len(predictions) if predictions else 0.0,
    }


def _words(answer: str) -> list[str]:
    return answer.split(".")[0].replace(",", "").split(" ")


POPE = Metric("pope", "accuracy of yes and no (official: POPE)", judge, further)
