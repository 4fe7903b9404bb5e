"""The report step: against a champion whose predictions are still in the store, models are compared question by question."""

from pathlib import Path

import pytest

from components.promote import logic as promote
from components.register import logic as register
from components.report import logic
from model.contracts.base import digest_of
from model.contracts.evaluation import PREDICTIONS_FILE, RESULT_FILE, Prediction
from model.evaluate.statistics import paired_difference
from tests.support.html_page import parse, section
from tests.support.released import Judged, judge, result_of

NUM_QUESTIONS = 40


def answers(wrong: set[int]) -> list[Prediction]:
    return [
        Prediction(
            question_id=str(n), picture=f"picture-{n}", question="Is there a cat?", expected=("yes",), answer="", parsed=None,
            score=0.0 if n in wrong else 1.0,
        )
        for n in range(NUM_QUESTIONS)
    ]  # fmt: skip


def evaluated(model: Judged, wrong: set[int], score: float | None = None) -> str:
    """A result and its predictions in the store, as the evaluate step leaves them; its folder."""
    predictions = answers(wrong)
    said = digest_of([one.model_dump(mode="json") for one in predictions])
    mean = 1 - len(wrong) / NUM_QUESTIONS if score is None else score
    result = result_of(model.manifest, mean).model_copy(update={"questions": NUM_QUESTIONS, "predictions_sha256": said})
    folder = Path(model.store_uri, "results", model.manifest.digest[:12], "held-0123456789ab")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PREDICTIONS_FILE).write_text("".join(one.model_dump_json() + "\n" for one in predictions))
    (folder / RESULT_FILE).write_text(result.to_json())
    return str(folder)


@pytest.fixture
def two(tmp_path) -> tuple[Judged, Judged]:
    champion = judge(tmp_path, seed=80)
    return champion, judge(tmp_path, seed=81, store_uri=champion.store_uri)


def crowned(model: Judged, result_uri: str, name: str) -> None:
    """Registered under a name and promoted."""
    released = register.run(**{**model.arguments(name=name), "result_uris": [result_uri]})
    promote.run(name, released.version)


def reported(model: Judged, result_uri: str, name: str) -> str:
    """The page's table of benchmarks as text."""
    made = logic.run(
        model.recipe.to_json(), model.corpus_uri, model.model_uri, model.run_uri, [result_uri], name, "when_better", "run-9"
    )
    return section(parse(made.html), "benchmarks").text


def test_pairs_of_answers_tell_a_small_difference_apart_where_intervals_would_not(two, mlflow):
    champion, candidate = two
    before, after = evaluated(champion, set(range(10))), evaluated(candidate, set(range(4)))
    crowned(champion, before, "paired")
    text = reported(candidate, after, "paired")
    difference = paired_difference(answers(set(range(10))), answers(set(range(4))))
    assert difference.is_significant
    assert "question by question, and the interval is that of the paired differences" in text
    assert f"{100 * difference.low:+.1f}".replace("+", "") in text
    assert "better" in text


@pytest.mark.parametrize("damage", ["removed", "replaced", "torn", "no mean"])
def test_without_the_champions_own_predictions_both_intervals_are_added_and_the_page_says_so(two, mlflow, damage):
    champion, candidate = two
    # An F1, say, is no mean of what each question scores.
    before = evaluated(champion, set(range(10)), 0.7 if damage == "no mean" else None)
    after, name = evaluated(candidate, set(range(4))), f"unpaired-{damage.replace(' ', '-')}"
    crowned(champion, before, name)
    if damage == "removed":
        Path(before, RESULT_FILE).unlink()
    elif damage == "replaced":
        evaluated(champion, set(range(11)))
    elif damage == "torn":
        file = Path(before, PREDICTIONS_FILE)
        file.write_bytes(file.read_bytes()[:-40])
    assert "adds both models' intervals as if they were independent" in reported(candidate, after, name)
