"""Register a judged model: one version a model and its results, found again however often, and killed wherever."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.register.logged_model import find_logged_model, upload, write_envelope
from components.shared.mlflow_client import experiment_id, explained, is_absent, open_client
from components.shared.platform import IMAGE_DIGEST
from components.shared.tracking import TrackedRun, complete_run, datasets_of, flat
from model import storage
from model.card import model_card
from model.contracts.base import digest_of
from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.contracts.evaluation import RESULT_FILE, GateDecision, Result
from model.contracts.recipe import Recipe
from model.contracts.release import CANDIDATE, Release, Tag
from model.errors import ContractError
from model.train.spec import LOG_FILE, read_corpus_manifest
from model.weights import read_model_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

GIT_SHA = "SPHINX_X_GIT_SHA"
"""Variable that the images set; a checkout asks git."""
LONGEST_DESCRIPTION = 5000
"""Characters that MLflow's database keeps."""
TIMING_FIELDS = {"seconds", "device", "questions_per_second"}
"""What a benchmark's repetition may change without saying anything else about the model."""


def run(
    recipe_json: str,
    corpus_uri: str,
    model_uri: str,
    run_uri: str,
    result_uris: list[str],
    decision_json: str,
    registered_name: str,
    run_id: str,
    page: Path,
) -> Release:
    """Make the model a version of its registered name, with the alias `candidate`.

    Args:
        page: The report as an HTML file.

    Raises:
        ContractError: results or decision are about another model, or an exported file was altered.
        RegistryError: MLflow does not answer or refuses.
    """
    recipe = Recipe.from_json(recipe_json, "parameter recipe_json")
    decision = GateDecision.from_json(decision_json, "parameter decision_json")
    manifest, corpus = read_model_manifest(model_uri), read_corpus_manifest(corpus_uri)
    results = [read_result(uri) for uri in result_uris]
    _check_same_model(manifest, results, decision)
    name = registered_name or recipe.registered_name(manifest.variant)
    tags = release_tags(recipe, manifest, results, decision, run_id)

    client = open_client()
    with explained(f"register {name}"):
        version, model_id = find_version(client, name, tags)
        if version is None:
            tracked = _tracked_run(manifest, corpus, corpus_uri, run_uri, run_id)
            card = model_card(recipe, manifest, results, decision, name, corpus)
            model_id = log_model(client, model_uri, manifest, results, tracked, tags, page, card, name)
            version = create_version(client, name, model_id, tags, describe(recipe, manifest, results, decision))
        elif decision.champion_version != version:  # judged again, against another champion than itself
            for tag in (Tag.GATE, Tag.GATE_REASON, Tag.GATE_CHAMPION):
                client.set_model_version_tag(name, version, tag, tags[tag])
        client.set_registered_model_alias(name, CANDIDATE, version)
        registered = client.get_model_version(name, version)
    return Release(
        name=name,
        version=version,
        model_id=model_id,
        model_digest=manifest.digest,
        aliases=tuple(sorted(registered.aliases)),
        tags=dict(registered.tags),
        uri=f"models:/{name}/{version}",
    )


def read_result(result_uri: str) -> Result:
    """A benchmark's result out of its folder."""
    uri = storage.join(result_uri, RESULT_FILE)
    return Result.from_json(storage.read_bytes(uri), uri)


def release_tags(
    recipe: Recipe, manifest: ModelManifest, results: list[Result], decision: GateDecision, run_id: str
) -> dict[str, str]:
    """Everything that is needed to run the training again, and what came of it. Names and digests only: no URI, no secret."""
    said = [result.model_dump(mode="json", exclude=TIMING_FIELDS) for result in results]
    tags = {
        Tag.VARIANT: manifest.variant,
        Tag.GIT_SHA: git_sha(),
        Tag.IMAGE_DIGEST: os.environ.get(IMAGE_DIGEST) or "none",
        Tag.RECIPE_DIGEST: recipe.content_digest(),
        Tag.CORPUS_DIGEST: manifest.corpus_digest,
        Tag.MODEL_DIGEST: manifest.digest,
        Tag.RUN_DIGEST: manifest.run_digest,
        Tag.RESULTS_DIGEST: digest_of(sorted(said, key=lambda result: result["name"])),
        Tag.PIPELINE_RUN: run_id,
        Tag.BASES: json.dumps({base.name: base.digest for base in manifest.bases}),
        Tag.LICENCES: json.dumps({**manifest.licences, **{base.name: base.licence for base in manifest.bases}}),
        Tag.GATE: "open" if decision.promote else "closed",
        Tag.GATE_REASON: decision.reason,
        Tag.GATE_CHAMPION: decision.champion_version or "",
    }
    return tags | {Tag.SCORE_PREFIX + result.name: f"{result.score:.4f}" for result in results}


def find_version(client: "MlflowClient", name: str, tags: dict[str, str]) -> tuple[str | None, str]:
    """Version and LoggedModel of this model with these results, if it was registered before; else (None, "")."""
    same = " and ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in (Tag.MODEL_DIGEST, Tag.RESULTS_DIGEST))
    found = client.search_model_versions(f"name = '{name}' and {same}")
    if not found:
        return None, ""
    first = min(found, key=lambda version: int(version.version))
    return str(first.version), (first.source or "").removeprefix("models:/")


def log_model(
    client: "MlflowClient",
    model_uri: str,
    manifest: ModelManifest,
    results: list[Result],
    tracked: TrackedRun,
    tags: dict[str, str],
    page: Path,
    card: str,
    name: str,
) -> str:
    """The LoggedModel with all its files and scores; goes on with the one that a killed call left.

    Returns:
        Its id.
    """
    experiment = experiment_id(client)
    training_run = complete_run(client, tracked)
    model = find_logged_model(client, experiment, tags)
    if model is None:
        model = client.create_logged_model(experiment, name, training_run, tags, model_type="sphinx-x")
    if str(model.status) != "READY":
        with tempfile.TemporaryDirectory(prefix="sphinx-x-") as envelope:
            write_envelope(Path(envelope), model.model_id, manifest, results, page, card)
            upload(client, model.model_id, model_uri, manifest, Path(envelope))
        client.finalize_logged_model(model.model_id, "READY")
    if not model.metrics:
        _link_and_score(client, training_run, model, results)
    return model.model_id


def create_version(client: "MlflowClient", name: str, model_id: str, tags: dict[str, str], description: str) -> str:
    """A new version of a registered name, which is made at its first version."""
    try:
        client.get_registered_model(name)
    except Exception as error:
        if not is_absent(error):
            raise
        client.create_registered_model(
            name, description="A SPHINX-X vision-language model; its aliases are candidate and champion."
        )
    source = f"models:/{model_id}"
    run_id = client.get_logged_model(model_id).source_run_id
    version = str(client.create_model_version(name, source, run_id, tags, description=description, model_id=model_id).version)
    # What `mlflow.register_model` writes as well: the model's page links to the version.
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": version}])})
    return version


def describe(recipe: Recipe, manifest: ModelManifest, results: list[Result], decision: GateDecision) -> str:
    """The version's description in Markdown: what it is, what it scored, what the gate said."""
    rows = [
        f"| {result.name} | {result.metric} | {result.score:.3f} ({result.low:.3f} to {result.high:.3f}) | {result.chance:.3f} "
        f"| {result.questions} |"
        for result in results
    ]
    lines = [
        f"SPHINX-X {manifest.variant}, trained on recipe {recipe.name}: {manifest.samples_seen} samples in {manifest.steps} steps.",
        "",
        "| benchmark | metric | score (95 % interval) | chance | questions |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Gate: {decision.reason}",
    ]
    return "\n".join(lines)[:LONGEST_DESCRIPTION]


def git_sha() -> str:
    """Commit of the program: from the image, else from the checkout that this file lies in, else unknown."""
    if given := os.environ.get(GIT_SHA):
        return given
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    sha = git("rev-parse", "HEAD")
    return f"{sha}{'-changed' if git('status', '--porcelain', '--untracked-files=no') else ''}" if sha else "unknown"


def _check_same_model(manifest: ModelManifest, results: list[Result], decision: GateDecision) -> None:
    for what, digest in [(f"result {r.name}", r.model_digest) for r in results] + [("the gate", decision.model_digest)]:
        if digest != manifest.digest:
            raise ContractError(
                f"{what} is about model {digest[:12]}, not about {manifest.digest[:12]}, which is to be registered; "
                "evaluate this model first."
            )


def _tracked_run(manifest: ModelManifest, corpus: CorpusManifest, corpus_uri: str, run_uri: str, run_id: str) -> TrackedRun:
    return TrackedRun(
        digest=manifest.run_digest,
        name=f"train {manifest.variant}",
        pipeline_run=run_id,
        params=flat(manifest.train_config),
        datasets=datasets_of(corpus, corpus_uri),
        log_uri=storage.join(run_uri, LOG_FILE),
    )


def _link_and_score(client: "MlflowClient", training_run: str, model: Any, results: list[Result]) -> None:
    """The run shows its model; scores are the model's metrics, so that MLflow's list of models is the leaderboard."""
    from mlflow.entities import LoggedModelOutput, Metric

    client.log_outputs(training_run, [LoggedModelOutput(model.model_id, step=0)])
    metrics = [
        Metric(f"eval/{result.name}", result.score, model.creation_timestamp, 0, model_id=model.model_id, run_id=training_run)
        for result in results
    ]
    client.log_batch(training_run, metrics=metrics)
