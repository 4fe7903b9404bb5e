"""A run handed to Kubeflow from the shell: where its recipe lies, which parameters it gets, checked before anything is started."""

import posixpath
from dataclasses import dataclass
from typing import Any

import yaml

from components.shared.platform import PREFIX
from model import storage
from model.errors import ConfigError, StorageError
from model.recipes import load_recipe
from pipelines.cluster.config import Value, check_no_templates
from pipelines.cluster.connection import Connection, KubeflowError
from pipelines.cluster.kubeflow import Kubeflow, open_kubeflow
from pipelines.cluster.sync import check_parameters

PIPELINE = f"{PREFIX}-train"


@dataclass(frozen=True)
class Address:
    """The way to Kubeflow that a command was given."""

    endpoint: str = ""
    namespace: str = ""
    ui_url: str = ""

    def open(self) -> Kubeflow:
        """A Kubeflow that answers.

        Raises:
            KubeflowError: it does not, or is too old.
        """
        return open_kubeflow(Connection.open(self.endpoint, self.namespace), self.ui_url)


def cluster_recipe(uri: str, store_uri: str) -> tuple[str, str]:
    """A recipe where the cluster's pods can read it; one from this machine is copied into the store.

    Args:
        uri: Path or URI of the recipe's file.
        store_uri: The cluster's store, if this machine knows it.

    Returns:
        Its URI for the pods, and its name.

    Raises:
        ConfigError: it names data on this machine, or lies here and there is no store to put it into.
        StorageError: it cannot be read or copied.
    """
    is_remote = storage.local_path(uri) is None
    try:
        recipe = load_recipe(uri)
    except StorageError:
        if not is_remote:
            raise
        # Not every machine that starts runs may read the cluster's data; the validate step reads it there.
        return uri, posixpath.splitext(posixpath.basename(uri))[0]
    for kind, entries in (("dataset", recipe.datasets), ("benchmark", recipe.benchmarks)):
        for entry in entries:
            if entry.root and storage.local_path(entry.root) is not None:
                raise ConfigError(
                    f"{kind} {entry.name} of {uri} lies at {entry.root} on this machine, which the cluster's pods cannot see; "
                    "copy it to object storage and write its s3:// URI into the recipe."
                )
    if is_remote:
        return uri, recipe.name
    if not store_uri or storage.local_path(store_uri) is not None:
        raise ConfigError(
            f"{uri} lies on this machine, which the cluster's pods cannot see; give --store s3://… to have it copied there, or copy "
            "it to object storage and give its URI."
        )
    target = storage.join(store_uri, "recipes", f"{recipe.name}-{recipe.content_digest()[:8]}.yaml")
    storage.write_text(target, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return target, recipe.name


def newest(kubeflow: Kubeflow, pipeline: str = PIPELINE) -> tuple[tuple[str, str], dict[str, Any]]:
    """The newest version of a pipeline on the cluster.

    Returns:
        Ids of pipeline and version; its parameters.

    Raises:
        KubeflowError: it is not there.
    """
    found = kubeflow.pipeline(pipeline)
    version = next(kubeflow.versions(found.pipeline_id), None) if found else None
    if found is None or version is None:
        raise KubeflowError(
            f"Kubeflow at {kubeflow.connection.endpoint} has no pipeline {pipeline}; install the chart, or upload it with: "
            "sphinx-x sync --config FILE."
        )
    spec = version.pipeline_spec.get("pipeline_spec", version.pipeline_spec)
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return (found.pipeline_id, version.pipeline_version_id), parameters


def submit(kubeflow: Kubeflow, name: str, given: dict[str, Value], pipeline: str = PIPELINE) -> str:
    """Start a run of the newest version; parameters that are empty are left to the pipeline's defaults.

    Returns:
        The run's id.

    Raises:
        ConfigError: a parameter is unknown to that version, missing, or wrong.
        KubeflowError: Kubeflow refuses.
    """
    ids, parameters = newest(kubeflow, pipeline)
    wanted = {key: value for key, value in given.items() if value != ""}
    check_parameters(f"pipeline {pipeline} on the cluster", parameters, wanted)
    try:
        check_no_templates(wanted)
    except ValueError as error:
        raise ConfigError(f"{error}.") from error
    return str(kubeflow.start(name, ids, wanted).run_id)


def find_cluster_run(kubeflow: Kubeflow, run_id: str) -> Any:
    """A run by its id, the beginning of it, or its name; the newest without any.

    Raises:
        ConfigError: there is none, or several.
    """
    if len(run_id) == 36:
        return kubeflow.run(run_id)
    found = [one for one in kubeflow.runs(limit=500) if one.run_id.startswith(run_id) or one.display_name == run_id]
    if not found:
        raise ConfigError(f"there is no run {run_id or 'yet'} on the cluster; list them with: sphinx-x runs --cluster.")
    if run_id and len(found) > 1 and found[0].display_name != run_id:
        ids = ", ".join(one.run_id[:13] for one in found[:4])
        raise ConfigError(f"several runs begin with {run_id}: {ids}; give more of it.")
    return kubeflow.run(found[0].run_id)
