"""Where people look on: pages of Kubeflow, MLflow and the cluster about a run, where the platform says how a browser reaches those.

A page's address stands by its label; where nobody says where an interface is, there is what to look it up by instead. Kubeflow shows
HTML reports in a frame whose links lead nowhere (`sandbox` without `allow-popups`), so a task's links are Markdown of their own.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from components.shared import platform
from components.shared.mlflow_client import experiment_id, explained, impatient, open_client, tracking_uri, without_credentials
from components.shared.tracking import find_run
from model.contracts.release import Tag
from model.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def pipeline_run_page(run_id: str) -> str:
    """The pipeline run in Kubeflow, or its id."""
    root = _root(platform.KUBEFLOW_UI)
    return f"{root}/runs/details/{run_id}" if root else run_id


def trainjob_page(namespace: str, name: str) -> str:
    """The TrainJob in whatever the platform has to look at objects with, or the command that shows it."""
    template = os.environ.get(platform.TRAINJOB_UI, "")
    if template:
        return template.replace("{namespace}", namespace).replace("{name}", name)
    return f"kubectl -n {namespace} describe trainjob {name}"


def training_run_page(run_digest: str) -> str:
    """The training run in MLflow, a search for it as long as it has not begun, or its id where nobody says where MLflow's pages are.

    Nothing for a database on this machine, which has no pages. Never raises: training goes on without MLflow.
    """
    server = without_credentials(tracking_uri())
    root = _root(platform.MLFLOW_UI)
    if not root and not server.startswith("http"):
        return ""
    try:
        with impatient(), explained("look up the training run"):
            client = open_client()
            experiment, run_id = experiment_id(client), find_run(client, run_digest)
    except RegistryError as error:
        return str(error)
    if not root:
        return f"run {run_id} at {server}" if run_id else server
    if run_id is None:
        search = quote(f"tags.`{Tag.RUN_DIGEST}` = '{run_digest}'")
        return f"{root}/experiments/{experiment}?searchFilter={search}"
    return f"{root}/experiments/{experiment}/runs/{run_id}"


def version_pages(name: str, version: str) -> dict[str, str]:
    """A registered version, the training run it came from, its report; empty where MLflow's interface is nowhere.

    Raises:
        RegistryError: MLflow does not answer, or there is no such version.
    """
    if not (root := _root(platform.MLFLOW_UI)):
        return {}
    client: MlflowClient = open_client()
    with explained(f"look up {name} version {version}"):
        registered: Any = client.get_model_version(name, version)
        experiment = client.get_run(registered.run_id).info.experiment_id
    model_id = (registered.source or "").removeprefix("models:/")
    return {
        "version": f"{root}/models/{name}/versions/{version}",
        "training run": f"{root}/experiments/{experiment}/runs/{registered.run_id}",
        "report and files": f"{root}/experiments/{experiment}/models/{model_id}/artifacts",
    }


def as_markdown(title: str, pages: Mapping[str, str]) -> str:
    """Pages as a list for a task's Markdown artifact; what is no address stands there to be copied."""
    lines = [
        f"- [{label}]({where})" if where.startswith(("http://", "https://")) else f"- {label}: `{where}`"
        for label, where in pages.items()
        if where
    ]
    return "\n".join([f"### {title}", "", *lines, ""])


def _root(setting: str) -> str:
    """Root of an interface whose pages come after a #; empty where the platform does not say."""
    where = os.environ.get(setting, "")
    return f"{where.rstrip('/')}/#" if where else ""
