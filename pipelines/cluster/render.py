"""A compiled pipeline made fit for one deployment: its images, its Secrets and ConfigMap, its defaults.

Compiled pipelines hold placeholders (`components/images.py`) and default names (`components/shared/platform.py`). What is put in
comes from the chart's values; what is left over is refused, since a cluster would only say that it cannot pull an image.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components import images
from components.shared.platform import IMAGE_DIGEST, SETTINGS_CONFIG_MAP
from model.errors import ConfigError
from pipelines.cluster.config import SecretKeys, SyncConfig
from pipelines.compile import COMPILED, QuotingDumper

DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class RenderedPipeline:
    """A pipeline as it is uploaded."""

    name: str
    """In Kubeflow's API; the file's own."""
    display_name: str
    description: str
    text: str
    """The YAML."""
    parameters: dict[str, dict[str, Any]]
    """Type, default, choices of each parameter."""

    @property
    def version(self) -> str:
        """Project version and the beginning of the content's digest: another content is another version."""
        return f"{project_version()}-{hashlib.sha256(self.text.encode()).hexdigest()[:DIGEST_CHARACTERS]}"


def project_version() -> str:
    """Version of this program; 0 where it runs from a plain folder."""
    try:
        return importlib.metadata.version("sphinx-x")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def compiled_pipelines(folder: Path = COMPILED) -> Iterator[tuple[str, str]]:
    """Name and YAML of every pipeline that comes with this program."""
    for path in sorted(folder.glob("*.yaml")):
        yield path.stem, path.read_text(encoding="utf-8")


def render_all(config: SyncConfig) -> list[RenderedPipeline]:
    """Every pipeline for a deployment.

    Raises:
        ConfigError: as `render` does, or a default fits no pipeline at all.
    """
    rendered = [render(text, config) for _, text in compiled_pipelines()]
    known = {name for pipeline in rendered for name in pipeline.parameters}
    if unknown := sorted(set(config.defaults) - known):
        raise ConfigError(f"defaults.{unknown[0]}: no pipeline has such a parameter; they have {', '.join(sorted(known))}.")
    return rendered


def render(text: str, config: SyncConfig) -> RenderedPipeline:
    """Put a deployment into a compiled pipeline.

    Args:
        text: The compiled YAML: the pipeline, then its platform's part.
        config: The deployment.

    Raises:
        ConfigError: an image is still a placeholder, a default is none of its parameter's choices.
    """
    spec, *platform = documents = list(yaml.safe_load_all(text))
    put = {images.OPS: config.images.ops, images.TRAIN: config.images.train}
    for executor in spec["deploymentSpec"]["executors"].values():
        if container := executor.get("container"):
            container["image"] = put.get(container["image"], container["image"])
            container["env"] = [
                *container.get("env", []),
                {"name": IMAGE_DIGEST, "value": digest_of_image(config.images.train)},
            ]
    for document in platform:
        for executor in document["platforms"]["kubernetes"].get("deploymentSpec", {}).get("executors", {}).values():
            _put_config_map(executor, config.settings_config_map)
            _put_secrets(executor, config.secrets.by_compiled_name())
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in config.defaults.items():
        if name in parameters:
            _put_default(parameters[name], name, value)
    name = spec["pipelineInfo"]["name"]
    for image in _images(spec):
        if image.startswith("registry.invalid/"):
            raise ConfigError(f"pipeline {name} still holds the placeholder {image}; map it in pipelines/cluster/render.py.")
    return RenderedPipeline(
        name=name,
        display_name=spec["pipelineInfo"].get("displayName", name),
        description=spec["pipelineInfo"].get("description", ""),
        text=yaml.dump_all(documents, Dumper=QuotingDumper, sort_keys=True, width=120, allow_unicode=True),
        parameters=parameters,
    )


def digest_of_image(reference: str) -> str:
    """An image's digest; its name and tag where it is not pinned. No registry: what a version says must outlast a move."""
    return reference.partition("@")[2] or reference.rpartition("/")[2]


def _images(spec: dict[str, Any]) -> Iterator[str]:
    for executor in spec["deploymentSpec"]["executors"].values():
        if container := executor.get("container"):
            yield container["image"]


def _put_config_map(executor: dict[str, Any], name: str) -> None:
    for entry in executor.get("configMapAsEnv", ()):
        if entry["configMapName"] == SETTINGS_CONFIG_MAP:
            entry["configMapName"] = name
            entry["configMapNameParameter"] = _constant(name)


def _put_secrets(executor: dict[str, Any], secrets: dict[str, SecretKeys | None]) -> None:
    """Names and keys of the deployment's Secrets; an entry whose Secret does not exist goes."""
    kept = []
    for entry in executor.get("secretAsEnv", ()):
        if entry["secretName"] in secrets:
            if (secret := secrets[entry["secretName"]]) is None:
                continue
            entry |= {"secretName": secret.name, "secretNameParameter": _constant(secret.name)}
            entry["keyToEnv"] = [{"envVar": name, "secretKey": key} for name, key in sorted(secret.keys.items())]
        kept.append(entry)
    if "secretAsEnv" in executor:
        executor["secretAsEnv"] = kept


def _constant(text: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": text}}


TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
"""Python types of each parameter type of the pipeline specification."""
WORDS = {"STRING": "a text", "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number", "BOOLEAN": "true or false"}


def problem_with(parameter: dict[str, Any], value: Any) -> str:
    """What is wrong with a parameter's value, as the end of a sentence; empty if nothing is."""
    kind = parameter["parameterType"]
    wrong_bool = isinstance(value, bool) and kind != "BOOLEAN"
    if wrong_bool or not isinstance(value, TYPES.get(kind, (object,))):
        return f"must be {WORDS.get(kind, 'a ' + kind.lower())}, not {value!r}"
    if (choices := parameter.get("literals")) and value not in choices:
        return f"must be one of {', '.join(map(str, choices))}, not {value!r}"
    return ""


def _put_default(parameter: dict[str, Any], name: str, value: Any) -> None:
    if problem := problem_with(parameter, value):
        raise ConfigError(f"defaults.{name} {problem}.")
    parameter |= {"defaultValue": value, "isOptional": True}
