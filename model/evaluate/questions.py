"""What a model is asked: questions with their accepted answers, chosen and counted before any model is loaded. Torch-free.

`benchmarks/` reads them from raw files; the runner asks them. Everything that a score depends on, besides the model, goes into the
digest of a set of questions: only results with equal digests are compared.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from model import storage
from model.contracts.base import digest_of
from model.contracts.corpus import Reject
from model.contracts.evaluation import Box
from model.data.sources.base import RawPicture
from model.errors import DataError
from model.evaluate.scores import Metric

Rule = Literal["majority", "zero"]
"""How a guess is made, see `chance.py`; zero: boxes and free text, where no constant answer scores."""
DIGEST_VERSION = 1
"""Grows whenever equal questions would be asked or scored in another way."""


@dataclass(frozen=True)
class Question:
    """One question about one picture."""

    id: str
    """Unique in the benchmark, the same in every run."""
    picture: RawPicture
    """Its URI names it in predictions; a picture that a reader made has its bytes too, and a made-up name below its source's URI."""
    prompt: str
    """The human turn, as the model sees it."""
    expected: tuple[str, ...]
    group: str = "all"
    choices: tuple[str, ...] = ()
    """All answers that the question admits, where they are few and known."""
    expected_boxes: tuple[Box, ...] = ()
    expected_labels: tuple[str, ...] = ()
    origin: tuple[float, float] = (0.0, 0.0)
    """As in `Prediction`."""


@dataclass(frozen=True)
class QuestionSet:
    """A benchmark, ready to be asked."""

    name: str
    benchmark: str
    questions: tuple[Question, ...]
    rejects: dict[str, int]
    """Rows that give no question, by reason."""
    metric: Metric
    guess: Rule
    """How a guess is made; what it scores is not computed before a result needs it."""
    max_new_tokens: int
    digest: str


class PictureFiles:
    """Names and sizes of the files below a folder of pictures, listed once: what is missing is known before a model is loaded."""

    def __init__(self, folder_uri: str) -> None:
        self._prefix = folder_uri.rstrip("/") + "/"
        self._sizes = {file.path: file.bytes for file in storage.list_files(folder_uri)} if folder_uri else {}

    def size_bytes(self, uri: str) -> int | None:
        """Size of a picture; None where there is no such file."""
        return self._sizes.get(uri.removeprefix(self._prefix))


def with_pictures(found: Iterable[Question | Reject], files: PictureFiles) -> Iterator[Question | Reject]:
    """Turn questions whose picture is not there into rejects."""
    for one in found:
        if isinstance(one, Question) and one.picture.data is None and files.size_bytes(one.picture.uri) is None:
            yield Reject(id=one.id, reason="picture missing", detail=one.picture.uri, kind="part")
        else:
            yield one


def choose(
    found: Iterable[Question | Reject], limit: int | None, max_reject_share: float, where: str
) -> tuple[list[Question], Counter[str]]:
    """The first `limit` questions in a fixed shuffled order, in their old order; and the reasons of rows that gave none.

    Raises:
        DataError: there is no question, or more faulty rows than `max_reject_share` bears.
    """
    questions: dict[str, Question] = {}
    reasons: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for one in found:
        if isinstance(one, Question) and one.id in questions:
            one = Reject(id=one.id, reason="question listed twice", kind="part")
        if isinstance(one, Question):
            questions[one.id] = one
            continue
        reasons[one.reason] += 1
        if one.kind != "rule":
            faults[one.reason] += 1
    check_faults(faults, faults.total() + len(questions), max_reject_share, where)
    if not questions:
        raise DataError(f"{where} holds no question ({most_common(reasons)}); check root, split, options and held_out_share.")
    kept = set(sorted(questions, key=_shuffled)[:limit])
    return [one for one in questions.values() if one.id in kept], reasons


def check_faults(faults: Counter[str], num_rows: int, max_reject_share: float, where: str) -> None:
    """Stop where too much is faulty.

    Raises:
        DataError: faulty rows are more than `max_reject_share` of all.
    """
    if faults.total() > max_reject_share * num_rows:
        raise DataError(
            f"{where}: {faults.total()} of {num_rows} questions are faulty ({most_common(faults)}), more than max_reject_share "
            f"{max_reject_share:g} bears; mend the raw files or raise max_reject_share."
        )


def set_digest(questions: Iterable[Question], files: PictureFiles, metric: Metric, max_new_tokens: int) -> str:
    """Digest of questions, accepted answers, pictures and the way of scoring; not of where the files lie.

    A picture counts by its name and size, or by its content where a reader made it.
    """
    rows = []
    for one in questions:
        shown = one.picture
        content = files.size_bytes(shown.uri) if shown.data is None else hashlib.sha256(shown.data).hexdigest()
        asked = [one.id, one.prompt, one.expected, one.group, one.choices]
        rows.append([*asked, one.expected_boxes, one.expected_labels, one.origin, shown.key, content, shown.annotated_px])
    return digest_of({"version": DIGEST_VERSION, "metric": metric.words, "max_new_tokens": max_new_tokens, "questions": rows})


def most_common(counts: Counter[str]) -> str:
    """The commonest reasons in words."""
    return ", ".join(f"{count} x {reason}" for reason, count in counts.most_common(3)) or "it is empty"


def _shuffled(question_id: str) -> str:
    return hashlib.sha256(f"sphinx-x questions/{question_id}".encode()).hexdigest()
