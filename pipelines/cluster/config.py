"""What `sphinx-x sync` is told: the deployment that pipelines are uploaded for, and the schedules that it wants.

The chart writes this file from its values; a person can write it as well. Like every YAML here it refuses unknown fields.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from components.shared.platform import MLFLOW_CREDENTIALS, MLFLOW_SECRET, PREFIX, S3_CREDENTIALS, S3_SECRET, SETTINGS_CONFIG_MAP
from model.contracts.base import Part
from model.errors import ConfigError
from pipelines.cluster.cron import parse_cron

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Value = str | int | float | bool | list[Any] | dict[str, Any]


class KubeflowAddress(Part):
    """Where Kubeflow Pipelines answers and how to speak to it."""

    endpoint: str = ""
    """Root of the API; empty for the Service ml-pipeline of the namespace."""
    multi_user: bool = False
    """Pipelines, experiments and schedules belong to the namespace."""
    token_file: str = ""
    """File with a token, read again before every request."""
    ca_file: str = ""
    """Certificate authority of an https endpoint."""
    ui_url: str = ""
    """Root of Kubeflow's pages, for links."""
    wait_seconds: float = Field(default=300, ge=0)
    """How long the API may take to answer at all."""


class Images(Part):
    """References that a cluster can pull and that never move."""

    ops: str
    train: str

    @field_validator("ops", "train")
    @classmethod
    def _is_pinned(cls, image: str) -> str:
        if image.startswith("registry.invalid/") or "set-by-the-uploader" in image:
            raise ValueError("is a placeholder; write the image that the cluster pulls, with its digest")
        tag = re.search(r":([\w][\w.-]*)$", image)
        if "@sha256:" in image:
            if not re.search(r"@sha256:[0-9a-f]{64}$", image):
                raise ValueError("has a digest that is not 64 hex digits; copy it whole")
        elif not tag or tag[1] == "latest":
            raise ValueError("can change under a running system; write its digest, as in registry/name@sha256:…")
        return image


class SecretKeys(Part):
    """A Secret of the cluster, and which of its keys becomes which environment name."""

    name: Name
    keys: dict[str, str]


class Secrets(Part):
    """Secrets by name; nothing of their values is known here. None: there is no such secret."""

    s3: SecretKeys | None = None
    mlflow: SecretKeys | None = None

    def by_compiled_name(self) -> dict[str, SecretKeys | None]:
        """The deployment's Secret for each name that compiled pipelines hold."""
        return {S3_SECRET: self.s3, MLFLOW_SECRET: self.mlflow}

    @model_validator(mode="after")
    def _names_the_environment(self) -> Self:
        for secret, known in ((self.s3, S3_CREDENTIALS), (self.mlflow, MLFLOW_CREDENTIALS)):
            if secret and (unknown := set(secret.keys) - set(known)):
                raise ValueError(f"{secret.name} has {', '.join(sorted(unknown))}; the names are {', '.join(known)}")
        return self


class Schedule(Part):
    """A recurring run as somebody wants it."""

    name: Name
    cron: str
    pipeline: str = f"{PREFIX}-train"
    paused: bool = False
    parameters: dict[str, Value] = {}

    @field_validator("cron")
    @classmethod
    def _fires(cls, cron: str) -> str:
        try:
            return parse_cron(cron).text
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from error

    @field_validator("parameters")
    @classmethod
    def _holds_no_template(cls, parameters: dict[str, Value]) -> dict[str, Value]:
        check_no_templates(parameters)
        return parameters


class SyncConfig(Part):
    """A deployment of this system beside one Kubeflow Pipelines."""

    release: Name
    """With the namespace, whose schedules these are; those of others are never touched."""
    namespace: Name
    """Where the pipelines' pods run."""
    images: Images
    kubeflow: KubeflowAddress = KubeflowAddress()
    settings_config_map: Name = SETTINGS_CONFIG_MAP
    secrets: Secrets = Secrets()
    service_account: str = ""
    """Of scheduled runs; empty for Kubeflow's own choice."""
    experiment: str = PREFIX
    """Kubeflow experiment of scheduled runs."""
    upload: bool = True
    """Whether pipelines are uploaded; false where they come another way."""
    defaults: dict[str, Value] = {}
    """Defaults put into the form of every pipeline that has such a parameter."""
    wait_for_runs_seconds: float = Field(default=60, ge=0)
    """How long a schedule that changes or goes waits for its active run."""
    schedules: tuple[Schedule, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [schedule.name for schedule in self.schedules]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two schedules are called {doubles[0]}; give each a name of its own")
        return self

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a YAML or JSON file.

        Raises:
            ConfigError: it cannot be read, or one field of it is wrong.
        """
        try:
            fields = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be read ({error.strerror}); give --config the file that the chart mounts."
            ) from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
        return cls.from_fields(fields, str(path))


def check_no_templates(parameters: dict[str, Any]) -> None:
    """Refuse double braces: Argo would evaluate them inside a parameter's value.

    Raises:
        ValueError: a value holds some, with its name.
    """
    for name, value in parameters.items():
        if "{{" in str(value):
            raise ValueError(f"parameter {name} holds double braces, which Kubeflow would evaluate; write it without them")
