"""What a cluster lacks for this system: every dependency asked as pipelines will ask it, one line each with the remedy.

Nothing stops at the first fault, and what this user may not look at is said to be unknown, not missing.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from components.shared import platform
from components.shared.kubernetes_client import Kubernetes, KubernetesError, connect, mounted_namespace
from model.errors import SphinxError
from pipelines.cluster.config import SyncConfig
from pipelines.cluster.connection import DEFAULT_NAMESPACE, NAMESPACE, Connection
from pipelines.cluster.kubeflow import Kubeflow
from pipelines.cluster.sync import connection_for

Verdict = Literal["ok", "missing", "advice", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's page."""

    what: str
    verdict: Verdict
    """missing: runs will fail; advice: something is left out that may be meant so; unknown: this user may not look."""
    says: str


@dataclass
class Patient:
    """What is examined.

    Raises:
        KubernetesError: `kube`, where there is no API server.
    """

    namespace: str
    config: SyncConfig | None
    endpoint: str = ""
    account: str = "pipeline-runner"
    """Service account of the pipelines' pods."""
    in_cluster: bool = False
    """This process runs as a pod of the pipelines does: its own rights and environment are theirs."""
    settings: dict[str, str] = field(default_factory=dict)
    """The deployment's environment."""
    variants: tuple[str, ...] = ()
    """Sizes whose runtimes are there; filled by their check."""
    _kube: Kubernetes | None = None

    @classmethod
    def of(cls, config: SyncConfig | None, namespace: str, endpoint: str, in_cluster: bool) -> "Patient":
        """By the configuration, else the options, the environment and this pod."""
        place = namespace or (config.namespace if config else "")
        place = place or os.environ.get(NAMESPACE) or mounted_namespace() or DEFAULT_NAMESPACE
        account = (config.service_account if config else "") or "pipeline-runner"
        settings = {name: os.environ[name] for name in platform.SETTINGS if os.environ.get(name)}
        return cls(place, config, endpoint, account, in_cluster, settings)

    @property
    def kube(self) -> Kubernetes:
        if self._kube is None:
            self._kube = connect()
        return self._kube

    @property
    def needs_kubeflow(self) -> bool:
        """Unless the deployment says that it brings nothing to Kubeflow."""
        return self.config is None or self.config.upload or bool(self.config.schedules)

    def connection(self) -> Connection:
        """The way to its Kubeflow."""
        if self.config is not None:
            return connection_for(self.config, self.endpoint)
        return Connection.open(self.endpoint, self.namespace)

    def newest_spec(self) -> dict[str, Any] | None:
        """The newest version of the pipeline on its Kubeflow; None where there is none."""
        from pipelines.cluster.submit import PIPELINE

        kubeflow = Kubeflow(connection := self.connection(), connection.server().is_multi_user)
        found = kubeflow.pipeline(PIPELINE)
        version = next(kubeflow.versions(found.pipeline_id), None) if found else None
        return version.pipeline_spec.get("pipeline_spec", version.pipeline_spec) if version else None


Check = Callable[[Patient], Iterator[Finding]]


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings, in the order in which a person mends them."""
    from pipelines.cluster.checks import CHECKS

    for what, check in CHECKS:
        try:
            yield from check(patient)
        except KubernetesError as error:
            yield Finding(what, "unknown" if error.status == 403 else "missing", str(error))
            if what == "Kubernetes":
                return  # nobody answers, so every other line would say the same
        except SphinxError as error:
            yield Finding(what, "missing", str(error))
