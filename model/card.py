"""The model card: README.md of a registered model, so that a person who has only its folder knows what it is and may do with it.

Markdown with the YAML front matter that model hubs read. From the same manifests as the report; no torch here.
"""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.contracts.evaluation import GateDecision, Result
from model.contracts.recipe import Recipe
from model.evaluate.report import numbers
from model.evaluate.report.provenance import chat_line, loading_lines, registry_uri
from model.variants import VARIANTS

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
PAPER = "https://arxiv.org/abs/2402.05935"


def model_card(
    recipe: Recipe,
    model: ModelManifest,
    results: Sequence[Result],
    decision: GateDecision,
    registered_name: str = "",
    corpus: CorpusManifest | None = None,
) -> str:
    """The card's text.

    Args:
        results: The model's, in the recipe's order.
        registered_name: Name in the registry; empty for the recipe's.
        corpus: Adds what each dataset holds; without it the card lists names and licences.
    """
    name = registered_name or recipe.registered_name(model.variant)
    address = registry_uri(name, decision.promote)
    front = yaml.safe_dump(_front_matter(name, model, results), sort_keys=False, allow_unicode=True, width=120)
    parts = [
        f"---\n{front}---",
        f"# {_plain(name)}",
        _what_it_is(recipe, model),
        f"**Gate {'open' if decision.promote else 'closed'}.** {_plain(decision.reason)}",
        f"## How to use it\n\n{_usage(address)}",
        f"## Scores\n\n{_scores(results)}",
        f"## Training data\n\n{_data(model, corpus)}",
        f"## Base weights\n\n{_bases(model)}",
        f"## Limits\n\n{_limits(model, results)}",
        f"## Where it comes from\n\n{_origin(recipe, model)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(name: str, model: ModelManifest, results: Sequence[Result]) -> dict[str, Any]:
    """Fields of a hub's card; the licence is only named where everything that the model is made of has the same one."""
    licences = sorted({*model.licences.values(), *(base.licence for base in model.bases)})
    licence = {"license": "apache-2.0"} if licences == ["Apache-2.0"] else {"license": "other", "license_name": "see-below"}
    scores = [
        {
            "task": {"type": "image-text-to-text"},
            "dataset": {"type": result.benchmark, "name": result.name},
            "metrics": [
                {"type": result.metric, "value": round(result.score, 4), "name": f"{result.metric}, {result.mode} mode"}
            ],
        }
        for result in results
    ]
    index = {"model-index": [{"name": name, "results": scores}]} if scores else {}
    return {
        **licence,
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["sphinx-x", f"sphinx-x-{model.variant}", "vision-language", "custom_code"],
        **index,
    }


def _what_it_is(recipe: Recipe, model: ModelManifest) -> str:
    lines = [
        f"A vision-language model of the SPHINX-X family ([paper]({PAPER})), size **{_plain(model.variant)}**: two frozen image "
        "encoders (ConvNeXt and DINOv2), whose features are joined and projected into a language model. It answers questions about "
        "pictures in text; boxes are part of the text, `[x1,y1,x2,y2]` as fractions of the picture's longest edge"
        + (", from its top-left corner." if recipe.padding == "corner" else ", in the square that the picture is centred in.")
    ]
    variant = VARIANTS.get(model.variant)
    if variant is not None:
        geometry, language = variant.geometry, variant.language
        lines.append(
            f"The language model ({language.kind}) has {numbers.count(language.parameters)} parameters. A picture is seen in up to "
            f"{numbers.plural(geometry.num_views, 'view')} of {geometry.conv_px} pixels a side, {geometry.tokens_per_view} tokens "
            "each; a view that is all padding costs one token."
        )
    lines.append(
        f"It was trained in one stage on the recipe `{recipe.name}`: {numbers.count(model.steps)} optimizer steps, "
        f"{numbers.count(model.samples_seen)} samples, {numbers.count(model.tokens_seen)} tokens, "
        f"{numbers.duration(model.train_seconds)} in optimizer steps."
    )
    return "\n\n".join(lines)


def _usage(address: str) -> str:
    return f"""With transformers alone (`pip install torch torchvision transformers timm sentencepiece protobuf pillow mlflow`):

```python
import mlflow
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

{loading_lines(address)}

inputs = processor(Image.open("picture.jpg"), "What is in the picture?")
ids = model.generate(**inputs, max_new_tokens=64, stop_ids=processor.stop_ids())
print(processor.batch_decode(ids)[0])
```

With MLflow:

```python
from pathlib import Path

model = mlflow.pyfunc.load_model({json.dumps(address)})
model.predict([{{"image": Path("picture.jpg"), "question": "What is in the picture?"}}])
```

On the command line:

```
{chat_line(address)}
```

`trust_remote_code` and `mlflow.pyfunc` run the Python files in this folder; load models only from a registry that you trust."""


def _scores(results: Sequence[Result]) -> str:
    if not results:
        return "No benchmark was run."
    rows = [
        (
            result.name,
            result.metric,
            result.mode,
            numbers.percent(result.score),
            numbers.interval(result.low, result.high),
            numbers.percent(result.chance),
            numbers.count(result.questions),
            numbers.count(result.parse_failures),
        )
        for result in results
    ]
    head = ("Benchmark", "Metric", "Mode", "Score", "95 % interval", "Chance", "Questions", "Unreadable answers")
    return (
        f"{_table(head, rows)}\n\nIntervals are over the questions. Chance is what a guess scores without the picture. Unreadable "
        "answers count as wrong. Mode `official` is the benchmark's own scorer, `sphinx` what the original suite did."
    )


def _data(model: ModelManifest, corpus: CorpusManifest | None) -> str:
    if corpus is None:
        licences = _table(("Dataset", "Licence"), sorted(model.licences.items()))
        return licences if model.licences else "No dataset is recorded."
    rows = [
        (
            one.name,
            one.manifest.family,
            numbers.count(one.manifest.samples),
            f"{one.share:g}",
            numbers.count(one.manifest.pictures),
            numbers.count(one.manifest.held_out_pictures),
            one.manifest.licence,
        )
        for one in corpus.datasets
    ]
    head = ("Dataset", "Family", "Samples", "Passes an epoch", "Pictures", "Held-out pictures", "Licence")
    return (
        f"{_table(head, rows)}\n\nHeld-out pictures were never trained on; benchmarks ask about them or about official splits."
    )


def _bases(model: ModelManifest) -> str:
    if not model.bases:
        return "No base weights are recorded."
    rows = [(base.name, base.licence, base.digest[:12]) for base in model.bases]
    return _table(("Weights", "Licence", "Digest"), rows)


def _limits(model: ModelManifest, results: Sequence[Result]) -> str:
    """What the numbers say of where not to rely on the model, and what holds for all models of the kind."""
    limits = [
        "It can state what is not in the picture, and does so fluently; nothing it says should decide about people, health, money or "
        "safety without a person who checks it.",
        "It was trained on the tasks and languages of the datasets above; other tasks and languages were not judged.",
        "Boxes have two decimals, so a corner is never more exact than a hundredth of the longest edge.",
    ]
    near_chance = [result.name for result in results if result.low <= result.chance]
    if near_chance:
        limits.append(f"On {_plain(', '.join(near_chance))} its score is not above chance with 95 % confidence.")
    if model.variant == "nano":
        limits.append("nano is a small member of the family, made to run the whole workflow on two CPU cores.")
    licences = sorted({*model.licences.values(), *(base.licence for base in model.bases)})
    limits.append(f"Licences of data and base weights bind its use: {_plain(', '.join(licences) or 'none are recorded')}.")
    return "\n".join(f"- {limit}" for limit in limits)


def _origin(recipe: Recipe, model: ModelManifest) -> str:
    num_bytes = sum(file.bytes for file in model.files)
    rows = [
        ("Model", model.digest, f"{numbers.plural(len(model.files), 'file')}, {numbers.size(num_bytes)}"),
        ("Run", model.run_digest, "corpus, base and settings that decide the result"),
        ("Corpus", model.corpus_digest, "unified datasets and shares"),
        ("Order of packs", model.plan_digest, "the same for any number of GPUs"),
        ("Recipe", recipe.content_digest(), f"{recipe.name}, seed {recipe.seed}"),
    ]
    return _table(("What", "sha256", "Of"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Words of a recipe or a raw file as they are: no Markdown, no HTML, no line break."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))
