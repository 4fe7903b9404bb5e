"""Gather what the comparison of a family is made of, and draw the page."""

from collections.abc import Sequence
from typing import NamedTuple

from components.shared.mlflow_client import explained, open_client, tracking_uri, without_credentials
from components.shared.pages import as_markdown, pipeline_run_page, version_pages
from components.shared.task import runs_here, tell
from model import storage
from model.contracts.evaluation import RESULT_FILE, Result
from model.contracts.family import CheckedFamily, CheckedMember, Compared, ComparedMember, JudgedMember
from model.contracts.release import Tag
from model.errors import ContractError
from model.evaluate.report.comparison import ComparedModel, ComparisonInput, render_comparison, verdict
from model.recipes import recipe_from_json
from model.train.log import read_log
from model.train.spec import read_corpus_manifest
from model.weights import read_model_manifest

REPORTS_FOLDER = "reports"
"""Where the command line puts the members' reports, beside the comparison."""


class Made(NamedTuple):
    compared_json: str
    """`model.contracts.family.Compared`."""
    html: str
    links: str
    """Markdown."""
    figures: dict[str, float]
    """Score by <member>/<benchmark>, for the Metrics table."""


def run(
    recipe_json: str,
    family_json: str,
    corpus_uri: str,
    judged: Sequence[str],
    run_uris: Sequence[str],
    versions: Sequence[str],
    run_id: str,
) -> Made:
    """Read what every member left behind, and draw.

    Args:
        judged: `JudgedMember` of each, in the family's order, as are `run_uris` and `versions`.

    Raises:
        RegistryError: MLflow does not answer.
        ContractError: the lists are not about the same members.
        StorageError: a manifest or a result is not there.
    """
    recipe = recipe_from_json(recipe_json)
    family = CheckedFamily.from_json(family_json, "parameter family_json")
    found = [JudgedMember.from_json(text, "parameter judged") for text in judged]
    names = [one.name for one in family.members]
    if [one.name for one in found] != names or not len(names) == len(run_uris) == len(versions):
        raise ContractError(f"the results are not those of the members {', '.join(names)}; run the pipeline again.")
    places = {benchmark.name: place for place, benchmark in enumerate(recipe.benchmarks)}
    members = []
    for one, result, run_uri, version in zip(family.members, found, run_uris, versions, strict=True):
        results = sorted(map(_read_result, result.result_uris), key=lambda result: places[result.name])
        members.append(_member(one, family.device, result.model_uri, results, run_uri, version))
    links = {"pipeline run": pipeline_run_page(run_id), "corpus": corpus_uri, "MLflow": without_credentials(tracking_uri())}
    html = render_comparison(
        ComparisonInput(
            recipe=recipe,
            corpus=read_corpus_manifest(corpus_uri),
            members=members,
            links=links,
        )
    )
    said = verdict(members)
    print(said)
    tell("compare", "", "running", note=said)
    compared = Compared(members=tuple(map(_compared, members, found, family.members, versions)))
    scores = {f"{one.name}/{result.name}": result.score for one in members for result in one.results}
    for one in members:
        links |= {f"{one.name}: {label}": where for label, where in ({"model": one.address} | dict(one.pages)).items()}
    return Made(compared.to_json(), html, as_markdown("The family", links), scores)


def _read_result(result_uri: str) -> Result:
    where = storage.join(result_uri, RESULT_FILE)
    return Result.from_json(storage.read_bytes(where), where)


def _member(
    one: CheckedMember, device: str, model_uri: str, results: list[Result], run_uri: str, version: str
) -> ComparedModel:
    client = open_client()
    with explained(f"look up {one.registered_name} version {version}"):
        registered = client.get_model_version(one.registered_name, version)
    return ComparedModel(
        name=one.name,
        model=read_model_manifest(model_uri),
        results=results,
        log=read_log(run_uri),
        ranks=one.num_nodes * one.processes_per_node,
        device=device,
        address=f"models:/{one.registered_name}/{version}",
        aliases=sorted(registered.aliases, reverse=True),
        gate_open=registered.tags.get(Tag.GATE) == "open",
        gate_reason=registered.tags.get(Tag.GATE_REASON, ""),
        pages=version_pages(one.registered_name, version),
        report_file=f"{REPORTS_FOLDER}/{one.name}.html" if runs_here() else "",
    )


def _compared(one: ComparedModel, judged: JudgedMember, member: CheckedMember, version: str) -> ComparedMember:
    return ComparedMember(
        name=one.name,
        model_uri=judged.model_uri,
        model_digest=one.model.digest,
        registered_name=member.registered_name,
        version=version,
        gate="open" if one.gate_open else "closed",
        gate_reason=one.gate_reason,
        scores={result.name: result.score for result in one.results},
    )
