"""The doctor's checks. Each yields one finding or several; whatever it raises becomes one as well."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

from components.shared import platform
from components.shared.cluster_checks import GPU, gpu_nodes, least_memory_gb, runtime_problem
from components.shared.kubernetes_client import KubernetesError, path_of
from model import storage
from model.train.config import load_train_config
from model.train.estimate import fits
from model.train.machine import Machine
from model.variants import VARIANTS
from pipelines.cluster.connection import MINIMUM, KubeflowError
from pipelines.cluster.doctor import Check, Finding, Patient

MINIMUM_KUBERNETES = (1, 31)
"""Kubeflow Trainer's floor."""
RIGHTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("trainer.kubeflow.org", "trainjobs", ("create", "get", "list", "watch", "patch", "delete")),
    ("trainer.kubeflow.org", "trainingruntimes", ("get",)),
    ("jobset.x-k8s.io", "jobsets", ("get", "list", "watch")),
    ("", "pods", ("get", "list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list", "watch")),
    ("argoproj.io", "workflows", ("get",)),
)
"""What a train task does, by API group and resource; the chart's Role sphinx-x-pipelines gives it."""
INSTALL = "install it as docs/cluster.md says"


def kubernetes(patient: Patient) -> Iterator[Finding]:
    version = patient.kube.get("/version")
    number = (int(version["major"]), int("".join(filter(str.isdigit, version["minor"]))))
    said = f"{version['gitVersion']} at {patient.kube.host}"
    if number < MINIMUM_KUBERNETES:
        floor = ".".join(map(str, MINIMUM_KUBERNETES))
        yield Finding(
            "Kubernetes", "missing", f"{said} is older than {floor}, which Kubeflow Trainer needs; update the cluster."
        )
    else:
        yield Finding("Kubernetes", "ok", said)


def trainer(patient: Patient) -> Iterator[Finding]:
    served = _served(patient, "trainer.kubeflow.org/v1alpha1")
    if "trainjobs" not in served:
        yield Finding(
            "Kubeflow Trainer", "missing", f"the cluster has no TrainJobs (trainer.kubeflow.org/v1alpha1); {INSTALL}."
        )
        return
    # The field that replaced podTemplateOverrides in 2.2; how else a CRD's version shows without rights on the cluster.
    schema = str(patient.kube.get("/openapi/v3/apis/trainer.kubeflow.org/v1alpha1"))
    if "runtimePatches" not in schema:
        yield Finding("Kubeflow Trainer", "missing", "its TrainJobs know no runtimePatches; update it to 2.2 or later.")
    else:
        yield Finding("Kubeflow Trainer", "ok", "TrainJobs with runtimePatches (2.2 or later)")


def jobset(patient: Patient) -> Iterator[Finding]:
    if "jobsets" in _served(patient, "jobset.x-k8s.io/v1alpha2"):
        yield Finding("JobSet", "ok", "jobset.x-k8s.io/v1alpha2")
    else:
        yield Finding("JobSet", "missing", f"the cluster has no JobSets, which carry TrainJobs; {INSTALL}.")


def settings(patient: Patient) -> Iterator[Finding]:
    name = patient.config.settings_config_map if patient.config else platform.SETTINGS_CONFIG_MAP
    if patient.in_cluster and platform.STORE in os.environ:
        yield Finding("settings", "ok", f"ConfigMap {name} is this pod's environment")
        return
    found = _found(patient, "configmaps", name)
    if found is None:
        yield Finding(
            "settings",
            "missing",
            f"there is no ConfigMap {name} in {patient.namespace}; install the chart into that namespace.",
        )
        return
    patient.settings = {**found.get("data", {}), **patient.settings}
    yield Finding("settings", "ok", f"ConfigMap {name} in {patient.namespace}")


def runtimes(patient: Patient) -> Iterator[Finding]:
    problems = {name: runtime_problem(patient.kube, patient.namespace, name) for name in VARIANTS}
    patient.variants = tuple(name for name, problem in problems.items() if problem is None)
    if patient.variants:
        yield Finding("runtimes", "ok", f"of {', '.join(patient.variants)} in {patient.namespace}")
    else:
        yield Finding("runtimes", "missing", str(next(iter(problems.values()))))


def rights(patient: Patient) -> Iterator[Finding]:
    """Asked of the API server for the pipelines' service account: as itself in the cluster, as an administrator from outside."""
    user = f"system:serviceaccount:{patient.namespace}:{patient.account}"
    kind = "SelfSubjectAccessReview" if patient.in_cluster else "SubjectAccessReview"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{patient.namespace}", "system:authenticated"]
    who = {} if patient.in_cluster else {"user": user, "groups": groups}
    lacks = []
    for group, resource, verbs in RIGHTS:
        name, _, part = resource.partition("/")
        asked = {"namespace": patient.namespace, "group": group, "resource": name, "subresource": part}
        denied = [verb for verb in verbs if not _may(patient, kind, who, {**asked, "verb": verb})]
        lacks += [f"{' '.join(denied)} {resource}"] if denied else []
    if lacks:
        yield Finding(
            "rights",
            "missing",
            f"{user} may not: {', '.join(lacks)}; install the chart with rbac.create, or bind its Role yourself.",
        )
    else:
        yield Finding("rights", "ok", f"{user} may make and follow TrainJobs")


def secrets(patient: Patient) -> Iterator[Finding]:
    if patient.config is None:
        yield Finding(
            "secrets", "unknown", "which ones are used stands in the chart's values; give --config to have them checked."
        )
        return
    named = [secret for secret in patient.config.secrets.by_compiled_name().values() if secret is not None]
    if not named:
        yield Finding("secrets", "ok", "none is used: pods have their rights from elsewhere")
    for secret in named:
        found = _found(patient, "secrets", secret.name)
        if found is None:
            says = f"there is no Secret {secret.name} in {patient.namespace}; create it with the keys {', '.join(secret.keys.values())}."
            yield Finding("secrets", "missing", says)
        elif absent := sorted(set(secret.keys.values()) - set(found.get("data", {}))):
            says = f"Secret {secret.name} has no key {', '.join(absent)}; add it, or name the right key in the chart's values."
            yield Finding("secrets", "missing", says)
        else:
            yield Finding("secrets", "ok", f"{secret.name} with {', '.join(secret.keys.values())}")


def store(patient: Patient) -> Iterator[Finding]:
    uri = patient.settings.get(platform.STORE, "")
    if not uri:
        yield Finding("store", "missing", f"no store is set ({platform.STORE}); set store.uri in the chart's values.")
        return
    if not patient.in_cluster and "AWS_ACCESS_KEY_ID" not in os.environ:
        says = f"{uri} is asked by `helm test` with the pods' credentials; set AWS_ACCESS_KEY_ID to ask it from here."
        yield Finding("store", "unknown", says)
        return
    storage.check_writable(uri)  # impatient, where the next lines would try for minutes
    probe = storage.join(uri, f".doctor-{uuid.uuid4().hex[:8]}")
    storage.write_text(probe, "read me")
    try:
        storage.read_bytes(probe)
        storage.list_files(probe)
    finally:
        storage.delete_tree(probe)
    yield Finding("store", "ok", f"{uri} can be written, read, listed and cleared")


def mlflow(patient: Patient) -> Iterator[Finding]:
    from components.shared.mlflow_client import check_reachable

    uri = patient.settings.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        says = "no MLflow is set (MLFLOW_TRACKING_URI); set mlflow.trackingUri in the chart's values, or mlflow.server.enabled."
        yield Finding("MLflow", "missing", says)
    elif not patient.in_cluster and "MLFLOW_TRACKING_URI" not in os.environ:
        yield Finding("MLflow", "unknown", f"{uri} is asked by `helm test`; set MLFLOW_TRACKING_URI to ask one from here.")
    else:
        yield Finding("MLflow", "ok", check_reachable())


def kubeflow(patient: Patient) -> Iterator[Finding]:
    what = "Kubeflow Pipelines"
    try:
        connection = patient.connection()
        server = connection.server()
    except KubeflowError as error:
        yield Finding(what, "missing" if patient.needs_kubeflow else "advice", str(error))
        return
    mode = "multi-user" if server.is_multi_user else "single-user"
    if server.is_too_old:
        needed = ".".join(map(str, MINIMUM))
        yield Finding(
            what, "missing", f"{server.version} cannot read this project's pipelines; update it to {needed} or later."
        )
    elif patient.config and patient.config.kubeflow.multi_user != server.is_multi_user:
        yield Finding(what, "missing", f"{connection.endpoint} is {mode}; set kfp.multiUser in the chart's values accordingly.")
    else:
        yield Finding(what, "ok", f"{server.version or 'of an unknown version'}, {mode}, at {connection.endpoint}")


def pipeline(patient: Patient) -> Iterator[Finding]:
    try:
        spec = patient.newest_spec()
    except KubeflowError:
        return  # told by the check before
    if spec is None:
        says = "it is not uploaded yet; install the chart, or run: sphinx-x sync --config FILE."
        yield Finding("pipeline", "missing" if patient.needs_kubeflow else "advice", says)
        return
    images = sorted({one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values() if "container" in one})
    if placeholders := [image for image in images if image.startswith("registry.invalid/")]:
        says = f"its newest version names {placeholders[0]}, which no registry has; upload it by the chart or `sphinx-x sync`."
        yield Finding("pipeline", "missing", says)
    else:
        yield Finding("pipeline", "ok", f"uploaded, with {', '.join(images)}")


def gpus(patient: Patient) -> Iterator[Finding]:
    if patient.settings.get(platform.GPUS_AUTOSCALED) == "true":
        yield Finding("GPUs", "ok", "nodes come when they are asked for, so they are not counted")
        return
    nodes = gpu_nodes(patient.kube)
    if nodes is None:
        yield Finding("GPUs", "unknown", "this account may not list nodes; set rbac.nodes in the chart's values to let it.")
        return
    if not nodes:
        says = f"no node offers {GPU}: only nano trains here (train_device=cpu); add GPU nodes and NVIDIA's device plugin for the others."
        yield Finding("GPUs", "advice", says)
        return
    each = max(node.gpus for node in nodes)
    alike = [node for node in nodes if node.gpus == each]
    stated = patient.settings.get(platform.GPU_MEMORY_GB, "")
    memory_gb = least_memory_gb(nodes, each) or (float(stated) if stated.replace(".", "", 1).isdigit() else None)
    known = f" of {memory_gb:.0f} GB" if memory_gb else ""
    yield Finding("GPUs", "ok", f"{sum(node.gpus for node in nodes)} on {len(nodes)} nodes, {each} each on {len(alike)}{known}")
    for name in patient.variants:
        if (needed := VARIANTS[name].gpus_per_model) > each:
            says = (
                f"{name} is evaluated on {needed} GPUs of one node, and no node has more than {each}; add larger nodes for it."
            )
            yield Finding("GPUs", "advice", says)
        elif memory_gb and (lack := fits(VARIANTS[name], load_train_config(name), Machine(len(alike), each, memory_gb))):
            yield Finding("GPUs", "advice", lack)


def queue(patient: Patient) -> Iterator[Finding]:
    if not (name := patient.settings.get(platform.QUEUE, "")):
        return
    versions = [one for one in patient.kube.get("/apis")["groups"] if one["name"] == "kueue.x-k8s.io"]
    if not versions:
        says = f"TrainJobs go to the queue {name}, and the cluster has no Kueue; install it, or set training.scheduling.mode to none in the values."
        yield Finding("Kueue", "missing", says)
        return
    group = versions[0]["preferredVersion"]["groupVersion"]
    try:
        patient.kube.get(f"/apis/{group}/namespaces/{patient.namespace}/localqueues/{name}")
    except KubernetesError as error:
        if error.status != 404:
            raise
        says = f"there is no LocalQueue {name} in {patient.namespace}; create it, or TrainJobs wait for ever."
        yield Finding("Kueue", "missing", says)
        return
    yield Finding("Kueue", "ok", f"LocalQueue {name}")


def _served(patient: Patient, group: str) -> set[str]:
    """Resources that the API server has in a group's version; any user may ask this."""
    try:
        return {one["name"] for one in patient.kube.get(f"/apis/{group}")["resources"]}
    except KubernetesError as error:
        if error.status == 404:
            return set()
        raise


def _found(patient: Patient, kind: str, name: str) -> dict[str, Any] | None:
    try:
        return patient.kube.get(path_of(kind, patient.namespace, name))
    except KubernetesError as error:
        if error.status == 404:
            return None
        raise


def _may(patient: Patient, kind: str, who: dict[str, Any], asked: dict[str, str]) -> bool:
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {**who, "resourceAttributes": asked}}
    path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
    return bool(patient.kube.create(path, review).get("status", {}).get("allowed"))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("Kubernetes", kubernetes),
    ("Kubeflow Trainer", trainer),
    ("JobSet", jobset),
    ("Kubeflow Pipelines", kubeflow),
    ("settings", settings),
    ("runtimes", runtimes),
    ("rights", rights),
    ("secrets", secrets),
    ("store", store),
    ("MLflow", mlflow),
    ("pipeline", pipeline),
    ("GPUs", gpus),
    ("Kueue", queue),
)
