"""The TrainJob of a training run, as Kubeflow Trainer 2.3 reads it: a pure function of what the launcher knows.

The TrainingRuntime of the chart says how a node looks (image, security, restarts, credentials by reference); the TrainJob says what
this run needs. No value of a Secret passes through here: environment comes as plain values that are not secret, or by reference.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.shared import platform
from components.train.canonical import canonical_quantity, without_empty

API_VERSION = "trainer.kubeflow.org/v1alpha1"
MANAGER = "sphinx-x/launcher"
"""Whose runtime patches these are; Kueue's stand beside them under its own name."""
NODE = "node"
"""Name of the replicated job and of its container, which Trainer's torch policy looks for."""
HEARTBEAT = "sphinx-x/heartbeat"
"""Annotation with the time at which the launcher last lived, where no Workflow owns the TrainJob."""
WORKFLOW_LABEL = "sphinx-x/workflow"
"""The Argo Workflow that wants the TrainJob: what the reaper asks for."""
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
GPU = "nvidia.com/gpu"

RESERVED = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
"""Trainer's own; its webhook refuses a TrainJob that sets them."""
MLFLOW_PLAIN = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_WORKSPACE")
"""What of the launcher's MLflow settings nodes are given. Not MLFLOW_RUN_ID: the tracker finds or makes its run below the parent that
is tagged with the pipeline run, and would close Kubeflow's own run of the launcher's task. Not MLFLOW_TRACKING_AUTH=kubernetes, which
Kubeflow's plugin puts in: it needs mlflow[kubernetes] and a service account's token, a node has neither, and every call would fail;
who wants it sets it on the Kubeflow task."""


class Owner(BaseModel):
    """The Argo Workflow of the pipeline run."""

    model_config = ConfigDict(frozen=True)

    name: str
    uid: str
    api_version: str = "argoproj.io/v1alpha1"


class NodeWishes(BaseModel):
    """What was set on the Kubeflow task (`dsl.TaskConfig`), in Kubernetes' own spelling."""

    model_config = ConfigDict(frozen=True)

    resources: dict[str, dict[str, Any]] = {}
    tolerations: list[dict[str, Any]] = []
    node_selector: dict[str, str] = {}
    env: list[dict[str, Any]] = []

    @classmethod
    def of_task(cls, task_config: Any) -> "NodeWishes":
        """Of a `dsl.TaskConfig`; all its fields are None where the DAG does not run on Kubeflow."""
        fields = {name: getattr(task_config, name, None) for name in cls.model_fields}
        return cls(**{name: value for name, value in fields.items() if value})


class TrainJobWish(BaseModel):
    """Everything that decides a TrainJob."""

    model_config = ConfigDict(frozen=True)

    namespace: str
    variant: str
    pipeline_run: str
    run_digest: str
    spec_uri: str
    """Where the nodes read the run's spec."""
    num_nodes: int = Field(ge=1)
    processes_per_node: int = Field(ge=1)
    device: Literal["gpu", "cpu"]
    deadline_seconds: int = Field(gt=0)
    queue: str = ""
    """Kueue's local queue; empty for none."""
    environment: dict[str, str] = {}
    """Plain values for the nodes."""
    wishes: NodeWishes = NodeWishes()
    owner: Owner | None = None
    heartbeat: str = ""
    """Time of creation, where nothing owns the TrainJob."""

    @property
    def name(self) -> str:
        return platform.trainjob_name(self.variant, self.pipeline_run, self.run_digest)

    @property
    def labels(self) -> dict[str, str]:
        """By these a retried launcher knows its own TrainJob again."""
        return {
            **platform.MANAGED_BY,
            platform.PIPELINE_RUN_LABEL: label_value(self.pipeline_run),
            platform.RUN_LABEL: self.run_digest[:12],
            platform.VARIANT_LABEL: self.variant,
        }


def build_trainjob(wish: TrainJobWish) -> dict[str, Any]:
    """The object to create."""
    metadata: dict[str, Any] = {"name": wish.name, "namespace": wish.namespace, "labels": dict(wish.labels)}
    spec: dict[str, Any] = {
        "runtimeRef": {
            "apiGroup": API_VERSION.split("/")[0],
            "kind": "TrainingRuntime",
            "name": platform.runtime_name(wish.variant),
        },
        # Always there: without it Trainer gives a node no rank and no master.
        "trainer": _trainer(wish),
        "activeDeadlineSeconds": wish.deadline_seconds,
        "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": _patch(wish)}}}],
    }
    if wish.owner is not None:
        metadata["labels"][WORKFLOW_LABEL] = label_value(wish.owner.name)
        metadata["ownerReferences"] = [_reference(wish.owner)]
    else:
        metadata["annotations"] = {HEARTBEAT: wish.heartbeat}
    if wish.queue:
        metadata["labels"][KUEUE_QUEUE] = wish.queue
        spec["suspend"] = True
    return {"apiVersion": API_VERSION, "kind": "TrainJob", "metadata": metadata, "spec": without_empty(spec)}


def mlflow_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """MLflow's settings that are no secret, out of a launcher's environment.

    Kubeflow's plugin puts them into the environment only where it is told to; its own KFP_MLFLOW_CONFIG is always there.
    """
    found = {name: environment[name] for name in MLFLOW_PLAIN if environment.get(name)}
    try:
        plugin = json.loads(environment.get("KFP_MLFLOW_CONFIG") or "{}")
    except ValueError:
        plugin = {}
    if isinstance(plugin, dict):
        for name, key in (
            ("MLFLOW_TRACKING_URI", "endpoint"),
            ("MLFLOW_EXPERIMENT_ID", "experimentId"),
            ("MLFLOW_WORKSPACE", "workspace"),
        ):
            if name not in found and isinstance(value := plugin.get(key), str) and value:
                found[name] = value
    return found


def label_value(text: str) -> str:
    """A text as a label's value: at most 63 of letters, digits, '-', '_' and '.', with a letter or digit at either end."""
    kept = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in text)[:63]
    return kept.strip("-_.")


def node_environment(wish: TrainJobWish) -> list[dict[str, Any]]:
    """Environment of a node: ours, then the task's, which wins; by name, each once.

    A reference to a field is left out: it would name the node's own field, not the launcher's.
    """
    mine: dict[str, dict[str, Any]] = {name: {"name": name, "value": value} for name, value in sorted(wish.environment.items())}
    mine["SPHINX_X_DEVICE"] = {"name": "SPHINX_X_DEVICE", "value": wish.device}
    if wish.device == "cpu":
        mine["DS_ACCELERATOR"] = {"name": "DS_ACCELERATOR", "value": "cpu"}
    for entry in wish.wishes.env:
        source = entry.get("valueFrom") or {}
        if entry["name"] in RESERVED or source.get("fieldRef") or source.get("resourceFieldRef"):
            continue
        mine[entry["name"]] = {
            "name": entry["name"],
            **({"valueFrom": source} if source else {"value": str(entry.get("value", ""))}),
        }
    return list(mine.values())


def _trainer(wish: TrainJobWish) -> dict[str, Any]:
    trainer: dict[str, Any] = {
        "numNodes": wish.num_nodes,
        "numProcPerNode": wish.processes_per_node,
        "command": ["python", "-m", "components.train.node"],
        "args": ["--spec", wish.spec_uri, "--run-id", wish.pipeline_run, "--job", wish.name],
        "env": node_environment(wish),
    }
    if resources := _resources(wish):
        trainer["resourcesPerNode"] = resources
    return trainer


def _resources(wish: TrainJobWish) -> dict[str, dict[str, str]]:
    """Trainer lays these over the runtime's; what the task asks for wins over one GPU a process."""
    limits = {GPU: str(wish.processes_per_node)} if wish.device == "gpu" else {}
    asked = {
        kind: {name: canonical_quantity(str(value)) for name, value in fields.items()}
        for kind, fields in wish.wishes.resources.items()
        if fields
    }
    if "limits" in asked or limits:
        asked["limits"] = {**limits, **asked.get("limits", {})}
    return asked


def _patch(wish: TrainJobWish) -> dict[str, Any]:
    """Where the nodes run, and labels by which their pods are found."""
    pod: dict[str, Any] = {}
    if wish.wishes.node_selector:
        pod["nodeSelector"] = dict(wish.wishes.node_selector)
    if wish.wishes.tolerations:
        pod["tolerations"] = list(wish.wishes.tolerations)
    template: dict[str, Any] = {"metadata": {"labels": dict(wish.labels)}}
    if pod:
        template["spec"] = pod
    return {"replicatedJobs": [{"name": NODE, "template": {"spec": {"template": template}}}]}


def _reference(owner: Owner) -> dict[str, Any]:
    # Not blocking: that would need a right on the Workflow's finalizers where the admission plugin for it is on.
    return {
        "apiVersion": owner.api_version,
        "kind": "Workflow",
        "name": owner.name,
        "uid": owner.uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }
