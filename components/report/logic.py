"""Gather what a report is made of, decide the gate, and draw the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from components.shared.mlflow_client import tracking_uri, without_credentials
from components.shared.pages import pipeline_run_page
from components.shared.registry import champion_results
from components.shared.task import tell
from model import storage
from model.contracts.evaluation import RESULT_FILE, Result
from model.errors import SphinxError
from model.evaluate.gate import decide
from model.evaluate.report import ReportInput, read_shown, render_report
from model.evaluate.results import read_predictions, read_result, uri_of_another_model
from model.evaluate.statistics import Difference, paired_difference
from model.recipes import recipe_from_json
from model.train.log import read_log
from model.train.spec import read_corpus_manifest
from model.weights import read_model_manifest

OPEN, CLOSED = "open", "closed"


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    gate: str
    decision_json: str


class Reported(NamedTuple):
    outputs: Outputs
    html: str
    figures: dict[str, float]
    """Score by benchmark, for the Metrics table."""


def run(
    recipe_json: str,
    corpus_uri: str,
    model_uri: str,
    run_uri: str,
    result_uris: Sequence[str],
    registered_name: str,
    promote: str,
    run_id: str,
    member: str = "",
) -> Reported:
    """Compare, decide, draw.

    Args:
        member: Name of the model in a family run, for whoever watches.

    Raises:
        RegistryError: MLflow does not answer.
        StorageError, ContractError: a manifest or a result is not there or not readable.
    """
    recipe = recipe_from_json(recipe_json)
    model = read_model_manifest(model_uri)
    places = {benchmark.name: place for place, benchmark in enumerate(recipe.benchmarks)}
    found = [(uri, _read_result(uri)) for uri in result_uris]
    found.sort(key=lambda pair: places[pair[1].name])
    results = [result for _, result in found]
    champion_version, champion = champion_results(registered_name) or (None, None)
    decision = decide(recipe.gate, results, champion, champion_version, model)
    page = render_report(
        ReportInput(
            recipe=recipe,
            corpus=read_corpus_manifest(corpus_uri),
            model=model,
            results=results,
            champion=champion,
            decision=decision,
            log=read_log(run_uri),
            shown=read_shown({result.name: uri for uri, result in found}),
            paired=_paired(found, champion or []),
            registered_name=registered_name,
            links={
                "pipeline run": pipeline_run_page(run_id),
                "model": model_uri,
                "MLflow": without_credentials(tracking_uri()),
            },
        )
    )
    gate = OPEN if decision.promote and promote != "never" else CLOSED
    print(f"gate {gate}: {decision.reason}")
    tell("report", member, "running", note=decision.reason)
    return Reported(Outputs(gate, decision.to_json()), page, {result.name: result.score for result in results})


def _paired(found: Sequence[tuple[str, Result]], champion: Sequence[Result]) -> dict[str, Difference]:
    """Differences from the champion question by question, by benchmark, where the champion's predictions are still in the store."""
    known = {(one.name, one.benchmark_digest, one.mode, one.metric): one for one in champion}
    differences = {}
    for uri, result in found:
        before = known.get((result.name, result.benchmark_digest, result.mode, result.metric))
        if before is None or before.model_digest == result.model_digest:
            continue
        try:
            there = uri_of_another_model(uri, before.model_digest)
            stored = read_result(there)
            if stored is None or stored.predictions_sha256 != before.predictions_sha256:
                continue
            difference = paired_difference(read_predictions(there), read_predictions(uri))
            if math.isclose(
                difference.mean, result.score - before.score, abs_tol=1e-6
            ):  # else no mean over questions: an F1, say
                differences[result.name] = difference
        except SphinxError:
            continue  # they were removed or damaged: then the report adds both intervals, and says so
    return differences


def _read_result(result_uri: str) -> Result:
    where = storage.join(result_uri, RESULT_FILE)
    return Result.from_json(storage.read_bytes(where), where)
