"""The story of one evaluation: what is asked, what was answered before, the rest answered, scored and published.

Nothing here imports torch until there is a question to answer: a finished result is recognised by the digests of the model, the
questions and the mode.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from model import storage
from model.contracts.evaluation import RESULT_FILE, Prediction, Result
from model.contracts.recipe import Recipe
from model.data.parallel import ordered_map
from model.data.pictures import PictureFault
from model.errors import ConfigError, DataError
from model.evaluate.benchmarks import read_questions
from model.evaluate.chance import chance_of
from model.evaluate.pictures import choose_shown, open_asked, save_shown
from model.evaluate.questions import Question, QuestionSet, check_faults
from model.evaluate.results import PredictionLog, figures, predict, read_result, result_uri
from model.weights import read_model_manifest

Mode = Literal["official", "sphinx"]
Progress = Callable[[int, int], None]
"""Called with the number of questions answered and of all."""

_NUM_READERS = 4
_NUM_AHEAD = 64


@dataclass
class _Run:
    """What this run did itself."""

    answered: dict[str, Prediction]
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    num_new: int = 0
    device: str = "none (all answers were there)"


def evaluate(
    model_uri: str,
    recipe: Recipe,
    benchmark: str,
    store_uri: str,
    mode: Mode = "official",
    progress: Progress | None = None,
    batch_size: int | None = None,
) -> tuple[str, Result]:
    """Judge an exported model on one benchmark of a recipe; returns at once where that was done before.

    Args:
        model_uri: Folder of the exported model.
        benchmark: Name of the benchmark in the recipe.
        store_uri: The store; the result lies below `results/` in it.
        mode: official (each benchmark's own scorer) or sphinx (as the original suite scored).
        progress: Called after every batch.
        batch_size: Questions answered at once; in float32 it changes nothing but the speed.

    Returns:
        URI of the result's folder, and the result.

    Raises:
        ConfigError: an unknown benchmark or option, or a model whose padding is not the recipe's.
        DataError: the model or the raw files are faulty, or too many pictures are.
        StorageError: something cannot be read or written.
    """
    asked = read_questions(recipe, benchmark, mode)
    model = read_model_manifest(model_uri)
    uri = result_uri(store_uri, model.digest, asked, mode)
    if (finished := read_result(uri)) is not None:
        return uri, finished
    log = PredictionLog(uri)
    known = {one.id for one in asked.questions}
    run = _Run({question_id: one for question_id, one in log.read().items() if question_id in known})
    _answer_rest(run, asked, log, model_uri, recipe, progress or (lambda done, total: None), batch_size)
    predictions = [run.answered[one.id] for one in asked.questions if one.id in run.answered]
    if not predictions:
        raise DataError(f"benchmark {asked.name}: no question could be asked, for want of pictures; check root and split.")
    predictions_sha256 = log.finish(predictions)
    save_shown(choose_shown([one for one in asked.questions if one.id in run.answered]), uri)
    result = _result(asked, run, predictions, predictions_sha256, model.digest, mode)
    # Written last: whoever sees it may trust the predictions and the pictures beside it.
    storage.write_text(storage.join(uri, RESULT_FILE), result.to_json())
    return uri, result


def _result(
    asked: QuestionSet, run: _Run, predictions: list[Prediction], predictions_sha256: str, model_digest: str, mode: Mode
) -> Result:
    chance, group_chance = chance_of(asked.questions, asked.metric, asked.guess)
    fields: dict[str, Any] = figures(predictions, asked.metric)
    return Result(
        name=asked.name,
        benchmark=asked.benchmark,
        metric=asked.metric.words,
        mode=mode,
        chance=chance,
        group_chance=group_chance,
        rejects=dict(sorted((Counter(asked.rejects) + run.faults).items())),
        benchmark_digest=asked.digest,
        model_digest=model_digest,
        predictions_sha256=predictions_sha256,
        seconds=run.seconds,
        device=run.device,
        questions_per_second=run.num_new / run.seconds if run.seconds else 0.0,
        **fields,
    )


def _answer_rest(
    run: _Run,
    asked: QuestionSet,
    log: PredictionLog,
    model_uri: str,
    recipe: Recipe,
    progress: Progress,
    batch_size: int | None,
) -> None:
    """Answer what no earlier run has answered, and append it to the log batch by batch."""
    rest = {one.id: one for one in asked.questions if one.id not in run.answered}
    total = len(asked.questions)
    progress(len(run.answered), total)
    if not rest:
        return
    from model.evaluate.answering import DEFAULT_BATCH_SIZE, Asked, open_answerer

    with open_answerer(model_uri, batch_size or DEFAULT_BATCH_SIZE) as answerer:
        if answerer.padding != recipe.padding:
            raise ConfigError(
                f"the model at {model_uri} was made with padding {answerer.padding}, the recipe {recipe.name} has "
                f"{recipe.padding}; set padding: {answerer.padding} in the recipe."
            )
        run.device = answerer.device_name

        def pictured() -> Iterator[Asked]:
            for group, views in ordered_map(
                lambda group: _load(group, answerer.views), _by_picture(rest), _NUM_READERS, _NUM_AHEAD
            ):
                if isinstance(views, PictureFault):
                    run.faults[views.reason] += len(group)
                    check_faults(run.faults, total, recipe.max_reject_share, f"benchmark {asked.name}")
                else:
                    yield Asked(views, tuple((one.id, one.prompt) for one in group))

        started = time.perf_counter()
        for batch in answerer.answer(pictured(), asked.max_new_tokens):
            predictions = [predict(rest[question_id], answer, asked.metric) for question_id, answer in batch]
            log.append(predictions)
            run.answered |= {one.question_id: one for one in predictions}
            run.num_new += len(predictions)
            progress(len(run.answered), total)
        run.seconds = time.perf_counter() - started


def _by_picture(questions: dict[str, Question]) -> Iterator[list[Question]]:
    """Questions about one picture together, pictures in the order of their first question."""
    groups: dict[str, list[Question]] = {}
    for one in questions.values():
        groups.setdefault(one.picture.uri, []).append(one)
    yield from groups.values()


def _load(group: list[Question], views: Callable[[Any], Any]) -> tuple[list[Question], Any]:
    """The views of a group's picture, or its fault; runs in a thread."""
    try:
        return group, views(open_asked(group[0].picture))
    except PictureFault as fault:
        return group, fault
