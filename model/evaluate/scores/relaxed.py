"""Relaxed accuracy of ChartQA: numbers may be 5 % off, words must be equal.

Official: google-research/pix2struct, metrics.py, relaxed_correctness. SPHINX's suite calls it with prediction and truth swapped
(LLaMA2-Accessory, accessory/eval_mm/utils/metric.py), so the 5 % are taken of the prediction.
"""

from model.evaluate.scores.base import Asked, Metric, Verdict

TOLERANCE = 0.05


def relaxed_equal(truth: str, answer: str) -> bool:
    """Whether an answer is the truth, or a number within 5 % of it; a truth of 0 is compared as text, as in the original."""
    true_number, number = _number(truth), _number(answer)
    if number is not None and true_number:
        return abs(number - true_number) / abs(true_number) <= TOLERANCE
    return answer.lower() == truth.lower()


def official(answer: str, asked: Asked) -> Verdict:
    """The tolerance is taken of the true number."""
    said = answer.strip()
    return Verdict(float(any(relaxed_equal(truth, said) for truth in asked.expected)), said.lower() or None)


def sphinx(answer: str, asked: Asked) -> Verdict:
    """The tolerance is taken of the answer."""
    said = answer.strip()
    return Verdict(float(any(relaxed_equal(said, truth) for truth in asked.expected)), said.lower() or None)


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


RELAXED = Metric("relaxed", "relaxed accuracy at 5 % (official: pix2struct)", official)
RELAXED_SPHINX = Metric("relaxed_sphinx", "relaxed accuracy at 5 % of the answer (as in SPHINX's suite)", sphinx)
