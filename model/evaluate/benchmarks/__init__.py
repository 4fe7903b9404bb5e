"""Benchmarks: one line each. `model/evaluate/README.md` says how to add one. Torch-free.

A line names the reader, the metric in official (and, where it differs, in SPHINX's) mode, what a guess scores, the length of an answer,
and the dataset families whose held-out pictures it can ask about.
"""

from typing import Any

from model import storage
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.sources import check_dataset, source_named
from model.data.sources.base import RawInputs
from model.errors import ConfigError
from model.evaluate.benchmarks import detection, pope, refcoco, short_answer, turns, vqav2
from model.evaluate.benchmarks.base import Benchmark, Request, by_mode
from model.evaluate.questions import PictureFiles, QuestionSet, choose, set_digest, with_pictures
from model.evaluate.scores import (
    ANLS,
    BOX_ACCURACY,
    BOX_ACCURACY_SPHINX,
    DETECTION,
    EDIT_SIMILARITY,
    POPE,
    SPOTTING,
    VQA_LAVIS,
    VQA_OFFICIAL,
)

BENCHMARKS: dict[str, Benchmark] = {
    "vqav2": Benchmark("open questions, ten answers each (VQAv2, OK-VQA)", vqav2.read, by_mode(VQA_OFFICIAL, VQA_LAVIS), "majority", 16, ("vqav2",), vqav2.VqaBenchmarkOptions),
    "refcoco": Benchmark("the box of what a sentence describes (RefCOCO, +, g)", refcoco.read, by_mode(BOX_ACCURACY, BOX_ACCURACY_SPHINX), "zero", 48, ("refcoco",)),
    "pope": Benchmark("is an object in the picture, yes or no (POPE)", pope.read, by_mode(POPE), "majority", 8, (), pope.PopeOptions, pope.inputs),
    "short_answer": Benchmark("questions with accepted short answers (own data, plain JSON lines)", short_answer.read, short_answer.metric, "majority", 32, (), short_answer.ShortAnswerOptions, short_answer.inputs),
    "detection": Benchmark("all boxes of a class, or the layout of a page (COCO, PubLayNet)", detection.read, by_mode(DETECTION), "zero", 1024, ("coco_detection", "publaynet"), detection.DetectionOptions),
    "receipts": Benchmark("the four key fields of receipts (SROIE)", turns.read_receipts, by_mode(ANLS), "zero", 96, ("icdar_spotting",)),
    "spotting": Benchmark("all texts with their boxes (ICDAR 2015, SROIE)", turns.read_spotting, by_mode(SPOTTING), "zero", 2048, ("icdar_spotting", "papertext")),
    "reading": Benchmark("the text of a region or a page (PaperText)", turns.read_turns, by_mode(EDIT_SIMILARITY), "zero", 1024, ("papertext",)),
    "instruction": Benchmark("the first question of a dialogue (LLaVA)", turns.read_first_turns, by_mode(EDIT_SIMILARITY), "zero", 256, ("llava",)),
}  # fmt: skip

HELD_OUT = "held_out"
"""Stands for the benchmark that fits the dataset's family."""
FITTING = {
    "coco_detection": "detection",
    "publaynet": "detection",
    "refcoco": "refcoco",
    "vqav2": "vqav2",
    "icdar_spotting": "spotting",
    "papertext": "reading",
    "llava": "instruction",
}


def check_benchmark(spec: BenchmarkSpec, recipe: Recipe, mode: str = "official") -> None:
    """Check in a moment what would stop a benchmark: that it exists, its options, its files.

    Raises:
        ConfigError: an unknown benchmark or option, or a dataset that it cannot ask about.
        DataError: the layout's files are not there, or a program that the family needs.
        StorageError: the place cannot be reached.
    """
    _, benchmark, request = _resolve(spec, recipe, mode)
    files = benchmark.inputs(request)
    for trained_on in recipe.datasets:
        if spec.held_out_of is None and trained_on.family in benchmark.families and _same_part(files, request, trained_on):
            raise ConfigError(
                f"benchmark {spec.name} would ask about what dataset {trained_on.name} trains on ({files.annotations[0]}); name another "
                f"split, or give {trained_on.name} a held_out_share and the benchmark held_out_of: {trained_on.name} instead of root."
            )


def _same_part(files: RawInputs, request: Request, trained_on: DatasetSpec) -> bool:
    """Whether a dataset reads the same files, and of these the same split (RefCOCO has all its splits in one file)."""
    if trained_on.family == "refcoco" and trained_on.split != request.spec.split:
        return False
    return _paths(check_dataset(trained_on)) == _paths(files)


def _paths(files: RawInputs) -> list[str]:
    return [str(path.resolve()) if (path := storage.local_path(uri)) is not None else uri for uri in files.annotations]


def read_questions(recipe: Recipe, name: str, mode: str) -> QuestionSet:
    """All that a benchmark of a recipe asks.

    Raises:
        ConfigError, DataError, StorageError: as `check_benchmark`; also too many faulty rows, or no question.
    """
    spec = recipe.benchmark(name)
    kind, benchmark, request = _resolve(spec, recipe, mode)
    files = PictureFiles(benchmark.inputs(request).pictures)
    where = f"benchmark {spec.name} ({spec.root or f'held out of {spec.held_out_of}'})"
    found = with_pictures(benchmark.read(request), files)
    questions, reasons = choose(found, spec.limit, recipe.max_reject_share, where)
    metric = benchmark.metric(request)
    max_new_tokens = request.options.max_new_tokens or benchmark.max_new_tokens
    return QuestionSet(
        name=spec.name,
        benchmark=kind,
        questions=tuple(questions),
        rejects=dict(sorted(reasons.items())),
        metric=metric,
        guess=benchmark.chance,
        max_new_tokens=max_new_tokens,
        digest=set_digest(questions, files, metric, max_new_tokens),
    )


def _resolve(spec: BenchmarkSpec, recipe: Recipe, mode: str) -> tuple[str, Benchmark, Request]:
    """The benchmark's name, the benchmark, and the request with checked options."""
    held_out = recipe.dataset(spec.held_out_of) if spec.held_out_of is not None else None
    kind = spec.benchmark
    if kind == HELD_OUT:
        kind = _fitting(spec, held_out)
    if kind not in BENCHMARKS:
        raise ConfigError(
            f"benchmark {spec.name}: there is no benchmark '{kind}'; choose one of {', '.join(BENCHMARKS)}, "
            f"or {HELD_OUT} for the one that fits a dataset's family."
        )
    benchmark = BENCHMARKS[kind]
    if held_out is not None and held_out.family not in benchmark.families:
        families = (
            f"it can ask about {' and '.join(benchmark.families)}" if benchmark.families else "it has official files only"
        )
        raise ConfigError(
            f"benchmark {spec.name}: {kind} cannot ask about dataset {held_out.name} of the family {held_out.family}, {families}."
        )
    options, rest = _options(spec, benchmark, held_out)
    dataset = held_out
    if dataset is None and benchmark.families:
        family = getattr(options, "family", benchmark.families[0])
        dataset = DatasetSpec(name=spec.name, family=family, root=spec.root, split=spec.split, options=rest)
    return kind, benchmark, Request(spec, recipe, options, dataset, mode == "sphinx")


def _fitting(spec: BenchmarkSpec, held_out: DatasetSpec | None) -> str:
    if held_out is None:
        raise ConfigError(f"benchmark {spec.name}: {HELD_OUT} asks about a dataset's held-out pictures; give held_out_of.")
    if held_out.family not in FITTING:
        raise ConfigError(
            f"benchmark {spec.name}: no benchmark fits dataset {held_out.name} of the family {held_out.family}; "
            f"those that can be asked about are {', '.join(FITTING)}."
        )
    return FITTING[held_out.family]


def _options(spec: BenchmarkSpec, benchmark: Benchmark, held_out: DatasetSpec | None) -> tuple[Any, dict]:
    """The benchmark's own options, checked; and those of the reader of its official files."""
    where = f"options of benchmark {spec.name} ({spec.benchmark})"
    own = benchmark.options.model_fields
    rest = {key: value for key, value in spec.options.items() if key not in own}
    known: set[str] = set()
    if held_out is None:
        known = {key for family in benchmark.families for key in source_named(family).options.model_fields}
    if unknown := sorted(set(rest) - known):
        remedy = "" if held_out is None else f"; options of the reader belong to dataset {held_out.name}"
        raise ConfigError(f"{where}: unknown field '{unknown[0]}'; the fields are {', '.join(sorted({*own, *known}))}{remedy}.")
    return benchmark.options.from_fields({key: spec.options[key] for key in spec.options if key in own}, where), rest


__all__ = ["BENCHMARKS", "Benchmark", "Request", "check_benchmark", "read_questions"]
