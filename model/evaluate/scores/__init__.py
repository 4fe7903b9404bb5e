"""Metrics: one file each, torch-free; every one names the official scorer that it follows."""

from model.errors import ContractError
from model.evaluate.scores.anls import ANLS, EDIT_SIMILARITY
from model.evaluate.scores.base import Asked, Metric, Verdict
from model.evaluate.scores.box_accuracy import BOX_ACCURACY, BOX_ACCURACY_SPHINX
from model.evaluate.scores.detection import DETECTION, SPOTTING
from model.evaluate.scores.exact_match import EXACT_MATCH, EXACT_MATCH_SPHINX
from model.evaluate.scores.relaxed import RELAXED, RELAXED_SPHINX
from model.evaluate.scores.vqa import VQA_LAVIS, VQA_OFFICIAL
from model.evaluate.scores.yes_no import POPE

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        VQA_OFFICIAL,
        VQA_LAVIS,
        BOX_ACCURACY,
        BOX_ACCURACY_SPHINX,
        POPE,
        EXACT_MATCH,
        EXACT_MATCH_SPHINX,
        ANLS,
        EDIT_SIMILARITY,
        RELAXED,
        RELAXED_SPHINX,
        DETECTION,
        SPOTTING,
    )
}


def metric_in_words(words: str) -> Metric:
    """The metric that a `Result` names.

    Raises:
        ContractError: this version of the program has none of that name.
    """
    for metric in METRICS.values():
        if metric.words == words:
            return metric
    raise ContractError(f"there is no metric '{words}' in this version of the program; run the evaluate step again.")


__all__ = ["METRICS", "Asked", "Metric", "Verdict", "metric_in_words"]
