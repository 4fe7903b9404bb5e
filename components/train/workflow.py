"""The Argo Workflow that a TrainJob belongs to: which one it is, and whether it still wants anything."""

import os
from typing import Any

from components.shared.kubernetes_client import Kubernetes, path_of
from components.train.trainjob import Owner

_ENDED_PHASES = ("Succeeded", "Failed", "Error")


def owning_workflow(kube: Kubernetes, namespace: str) -> Owner | None:
    """The Workflow of the pod that this runs in; None where no Workflow made it.

    Raises:
        KubernetesError: the pod cannot be looked up.
    """
    pod_name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
    if not pod_name:
        return None
    pod = kube.get(path_of("pods", namespace, pod_name))
    for reference in pod["metadata"].get("ownerReferences", []):
        if reference["kind"] == "Workflow":
            return Owner(name=reference["name"], uid=reference["uid"], api_version=reference["apiVersion"])
    return None


def why_over(workflow: dict[str, Any]) -> str:
    """Why a Workflow wants its TrainJob no more; empty while it does.

    Kubeflow's Terminate sets `spec.activeDeadlineSeconds` to 0 and leaves the Workflow where it is; Argo's own is `spec.shutdown`.
    """
    spec, phase = workflow.get("spec", {}), workflow.get("status", {}).get("phase", "")
    if phase in _ENDED_PHASES:
        return f"its Workflow has ended ({phase})"
    if spec.get("activeDeadlineSeconds") == 0 or spec.get("shutdown"):
        return "its Workflow was terminated"
    return ""
