"""Exact match of a short answer with any accepted one.

Official: GQA's rule as LLaVA and lmms-eval have it (final full stops dropped, lower case). SPHINX's suite drops every full stop
(LLaMA2-Accessory, accessory/eval_mm/utils/metric.py, evaluate_exact_match_accuracy).
"""

from collections.abc import Callable

from model.evaluate.scores.base import Asked, Metric, Verdict


def _judge(clean: Callable[[str], str]) -> Callable[[str, Asked], Verdict]:
    def judge(answer: str, asked: Asked) -> Verdict:
        said = clean(answer)
        return Verdict(float(any(said == clean(text) for text in asked.expected)), said or None)

    return judge


def drop_final_stop(text: str) -> str:
    """Lower case, without blanks around it and without full stops at its end."""
    return text.strip().rstrip(".").strip().lower()


def drop_all_stops(text: str) -> str:
    """Lower case, without blanks around it and without any full stop."""
    return text.replace(".", "").strip().lower()


EXACT_MATCH = Metric("exact_match", "exact match (lower case, no final full stop, as for GQA)", _judge(drop_final_stop))
EXACT_MATCH_SPHINX = Metric(
    "exact_match_sphinx", "exact match (without full stops, as in SPHINX's suite)", _judge(drop_all_stops)
)
