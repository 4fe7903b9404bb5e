"""Where the model comes from and how to use it: digests, base weights, licences, links, and the lines that load it."""

import json
import shlex
from collections.abc import Mapping, Sequence

from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.contracts.evaluation import Result
from model.contracts.recipe import Recipe
from model.contracts.release import CANDIDATE, CHAMPION
from model.evaluate.report import numbers
from model.evaluate.report.markup import Child, Column, Markup, facts, folded, link, section, table, tag


def registry_uri(name: str, promoted: bool) -> str:
    """Address of the model in the registry, by the alias that the gate gives it."""
    return f"models:/{name}@{CHAMPION if promoted else CANDIDATE}"


def loading_lines(address: str) -> str:
    """Python that loads the registered model with transformers and without this project."""
    return (
        f"folder = mlflow.artifacts.download_artifacts({json.dumps(address)})\n"
        "model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)\n"
        "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)"
    )


def chat_line(address: str) -> str:
    """The command that asks the registered model a question."""
    one_line = " ".join(address.split())
    return f'sphinx-x chat {shlex.quote(one_line)} --image picture.jpg --question "What is in the picture?"'


def provenance_section(
    name: str,
    recipe: Recipe,
    corpus: CorpusManifest,
    model: ModelManifest,
    results: Sequence[Result],
    promoted: bool,
    links: Mapping[str, str],
) -> Markup:
    """Everything that is needed to find, load and make the model again."""
    address = registry_uri(name, promoted)
    return section(
        "provenance",
        "Use it, and where it comes from",
        tag("h3", "Load it"),
        tag("pre", tag("code", loading_lines(address))),
        tag("p", "Or ask a question about a picture on the command line:"),
        tag("pre", tag("code", chat_line(address))),
        tag("h3", "Links") if links else None,
        tag("ul", [tag("li", f"{label}: ", link(where, where)) for label, where in links.items()]) if links else None,
        tag("h3", "Made from"),
        _bases_table(model),
        _licence_sentence(model),
        facts(_digests(recipe, corpus, model)),
        folded("Digests of the benchmarks", _benchmark_table(results)) if results else None,
    )


def _bases_table(model: ModelManifest) -> Markup:
    if not model.bases:
        return tag("p", "No base weights are recorded.")
    columns = [Column("Base weights"), Column("Licence"), Column("Digest"), Column("From")]
    rows = [
        [base.name, base.licence, tag("code", base.digest[:12], title=base.digest), tag("code", base.uri)]
        for base in model.bases
    ]
    return table("Weights that training started from.", columns, rows)


def _licence_sentence(model: ModelManifest) -> Markup:
    if not model.licences:
        return tag("p", "No licences of data are recorded.")
    by_licence: dict[str, list[str]] = {}
    for dataset, licence in model.licences.items():
        by_licence.setdefault(licence, []).append(dataset)
    words = "; ".join(f"{licence}: {', '.join(datasets)}" for licence, datasets in sorted(by_licence.items()))
    return tag("p", f"Licences of the data. {words}.")


def _digests(recipe: Recipe, corpus: CorpusManifest, model: ModelManifest) -> list[tuple[str, Child, Child]]:
    num_bytes = sum(file.bytes for file in model.files)
    return [
        ("Model", _digest(model.digest), f"{numbers.plural(len(model.files), 'file')}, {numbers.size(num_bytes)}"),
        ("Run", _digest(model.run_digest), "corpus, base and settings that decide the result"),
        (
            "Corpus",
            _digest(corpus.digest),
            f"{numbers.plural(len(corpus.datasets), 'dataset')}, boxes measured from padding at the {corpus.padding}",
        ),
        ("Order of packs", _digest(model.plan_digest), "the same for any number of GPUs"),
        ("Recipe", _digest(recipe.content_digest()), f"{recipe.name}, seed {recipe.seed}"),
    ]


def _digest(digest: str) -> Markup:
    return tag("code", digest, class_="digest")


def _benchmark_table(results: Sequence[Result]) -> Markup:
    columns = [Column("Benchmark"), Column("Questions, answers and prompt"), Column("Predictions")]
    rows = [
        [
            result.name,
            tag("code", result.benchmark_digest, class_="digest"),
            tag("code", result.predictions_sha256, class_="digest"),
        ]
        for result in results
    ]
    return table("Only results with an equal first digest may be compared.", columns, rows)
