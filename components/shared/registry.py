"""The registry as its readers see it: which version an address means, what its champion scored, its files on this machine.

Needs `mlflow-skinny` alone for a tracking server; a local database needs the whole of MLflow.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shared.mlflow_client import WORKSPACE, explained, has_database, is_absent, open_client
from model import storage
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, ModelManifest
from model.contracts.evaluation import Result
from model.contracts.release import CHAMPION, Tag
from model.errors import ContractError, RegistryError
from model.weights import read_model_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEME = "models:/"
RESULTS_FOLDER = "results"
"""Folder of a registered model that holds result.json of every benchmark, as <name>.json."""
PULLING_FILE = ".sphinx_x_pulling"
"""Holds the digest of a model that is being copied into its folder."""
PART_PREFIX = ".part-"
LEFT_BY_LOADING = ("__pycache__", "registered_model_meta")
"""What MLflow leaves among a model's files where it loads them from the disk that they are stored on."""

Progress = Callable[[str, int, int], None]
"""Called with a file's path, bytes that are there, bytes in all."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version in the registry."""

    name: str
    version: str
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}/{self.version}"


def resolve(uri: str) -> RegisteredVersion:
    """The version that an address means: models:/name@alias, models:/name/version, or models:/name for its champion.

    Raises:
        RegistryError: it is no such address, there is no such version, or MLflow does not answer.
    """
    parts = re.fullmatch(r"models:/+([^/@]+)(?:@([^/@]+)|/(\d+))?/?", uri)
    if parts is None:
        raise RegistryError(f"{uri} is no address in the registry; write models:/<name>@<alias> or models:/<name>/<version>.")
    name, alias, version = parts.group(1), parts.group(2), parts.group(3)
    if not has_database():
        raise RegistryError(
            f"there is no registry to look up {uri} in; set MLFLOW_TRACKING_URI, or change to the folder that holds {WORKSPACE}."
        )
    client = open_client()
    with explained(f"look up {uri}"):
        try:
            if version:
                found = client.get_model_version(name, version)
            else:
                found = client.get_model_version_by_alias(name, alias or CHAMPION)
        except Exception as error:
            if not is_absent(error):
                raise
            raise RegistryError(f"there is no {uri} in the registry; it holds {_known(client, name)}.") from error
    return RegisteredVersion(found.name, str(found.version), dict(found.tags))


def registered_champion(registered_name: str) -> RegisteredVersion | None:
    """The champion of a name; None where there is none yet.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not has_database():
        return None
    client = open_client()
    with explained(f"look up the champion of {registered_name}"):
        try:
            found = client.get_model_version_by_alias(registered_name, CHAMPION)
        except Exception as error:
            if is_absent(error):
                return None
            raise
    return RegisteredVersion(found.name, str(found.version), dict(found.tags))


def newest_version(registered_name: str) -> RegisteredVersion | None:
    """The version of a name that was registered last; None where there is none yet.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not has_database():
        return None
    client = open_client()
    with explained(f"look up the versions of {registered_name}"):
        found = client.search_model_versions(f"name = '{registered_name}'", max_results=1, order_by=["version_number DESC"])
    return RegisteredVersion(found[0].name, str(found[0].version), dict(found[0].tags)) if found else None


def all_versions() -> list[RegisteredVersion]:
    """Every version of ours in the registry, of every name.

    Raises:
        RegistryError: there is no registry, or it does not answer.
    """
    if not has_database():
        raise RegistryError(
            f"there is no registry here; set MLFLOW_TRACKING_URI, or change to the folder that holds {WORKSPACE}."
        )
    client, found, page = open_client(), [], None
    with explained("list the registered versions"):
        while page != "":
            versions = client.search_model_versions(max_results=1000, page_token=page)
            found += [RegisteredVersion(one.name, str(one.version), dict(one.tags)) for one in versions]
            page = versions.token or ""
    return [one for one in found if Tag.RUN_DIGEST in one.tags]


def champion_results(registered_name: str) -> tuple[str, list[Result]] | None:
    """Version and results of the champion; None where a name has none yet. Downloads the results alone.

    Raises:
        RegistryError: MLflow does not answer.
        ContractError: a result cannot be read.
    """
    champion = registered_champion(registered_name)
    if champion is None:
        return None
    uri = champion.uri
    with explained(f"read the results of {uri}"), tempfile.TemporaryDirectory(prefix="sphinx-x-") as folder:
        artifacts = _artifacts(uri)
        files = [file.path for file in artifacts.list_artifacts(RESULTS_FOLDER) if file.path.endswith(".json")]
        texts = {path: Path(artifacts.download_artifacts(path, folder)).read_bytes() for path in sorted(files)}
    return champion.version, [Result.from_json(text, f"{uri}/{path}") for path, text in texts.items()]


def pull(uri: str, folder: Path, progress: Progress | None = None) -> ModelManifest:
    """Copy a registered model into a folder; goes on where an earlier call stopped, and checks every file's digest.

    The manifest is written last: a folder that has one is whole.

    Raises:
        RegistryError: there is no such version, it is no model of this project, or MLflow does not answer.
        ContractError: a file is not what the manifest says, or the folder holds another model.
    """
    version = resolve(uri)
    with explained(f"pull {version.uri}"), tempfile.TemporaryDirectory(prefix="sphinx-x-") as scratch:
        artifacts = _artifacts(version.uri)
        paths = _files_below(artifacts)
        if MODEL_MANIFEST_FILE not in paths:
            raise RegistryError(f"{version.uri} is no SPHINX-X model ({MODEL_MANIFEST_FILE} is missing); load it with MLflow.")
        text = Path(artifacts.download_artifacts(MODEL_MANIFEST_FILE, scratch)).read_bytes()
        manifest = ModelManifest.from_json(text, f"{version.uri}/{MODEL_MANIFEST_FILE}")
        further = sorted(paths - {file.path for file in manifest.files} - {MODEL_MANIFEST_FILE})

        def fetch(path: str, target: Path) -> None:
            with tempfile.TemporaryDirectory(prefix=PART_PREFIX, dir=folder) as part:
                os.replace(artifacts.download_artifacts(path, part), target)

        _fill(folder, manifest, further, fetch, version.uri, progress)
    return manifest


def fetch_model(address: str, progress: Progress | None = None) -> Path:
    """The folder of a model on this machine: a folder as it is, anything else copied to the user's cache once.

    Args:
        address: models:/..., a folder, or the URI of an exported model.
    """
    if address.startswith("models:"):
        version = resolve(address)
        folder = cache_folder() / f"{version.name}-v{version.version}-{version.tags.get(Tag.MODEL_DIGEST, '')[:12]}"
        pull(version.uri, folder, progress)
        return folder
    manifest = read_model_manifest(address)
    if (local := storage.local_path(address)) is not None:
        return local
    folder = cache_folder() / f"{manifest.variant}-{manifest.digest[:12]}"
    _fill(folder, manifest, [], lambda path, to: storage.download_file(storage.join(address, path), to), address, progress)
    return folder


def cache_folder() -> Path:
    """Where pulled models are kept: $XDG_CACHE_HOME/sphinx-x, by default ~/.cache/sphinx-x."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sphinx-x"


def _fill(
    folder: Path,
    manifest: ModelManifest,
    further: list[str],
    fetch: Callable[[str, Path], None],
    source: str,
    progress: Progress | None,
) -> None:
    """Bring a manifest's files, then the further ones, then the manifest."""
    _check_folder(folder, manifest)
    done, total = 0, sum(file.bytes for file in manifest.files)
    for file in manifest.files:
        target = _inside(folder, file.path)
        # A file appears only once its digest was checked, so its size is enough to know it again.
        if not target.is_file() or target.stat().st_size != file.bytes:
            target.parent.mkdir(parents=True, exist_ok=True)
            unchecked = target.with_name(f".{target.name}.unchecked")
            fetch(file.path, unchecked)
            if storage.sha256_of(unchecked) != file.sha256:
                unchecked.unlink()
                raise ContractError(f"{source}/{file.path} is not what its manifest says; copy it again, or register it again.")
            os.replace(unchecked, target)
        done += file.bytes
        if progress is not None:
            progress(file.path, done, total)
    for path in further:
        target = _inside(folder, path)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch(path, target)
    storage.write_text(str(folder / MODEL_MANIFEST_FILE), manifest.to_json())
    (folder / PULLING_FILE).unlink(missing_ok=True)


def _check_folder(folder: Path, manifest: ModelManifest) -> None:
    """A folder may be absent, empty, or hold a part or all of this model."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    held = None
    if MODEL_MANIFEST_FILE in present:
        held = ModelManifest.read(folder / MODEL_MANIFEST_FILE).digest
    elif PULLING_FILE in present:
        held = (folder / PULLING_FILE).read_text()
    if present and held != manifest.digest:
        what = "another model" if held else "other files"
        raise ContractError(f"{folder} holds {what}; name an empty folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    if not present:
        storage.write_text(str(folder / PULLING_FILE), manifest.digest)
    for left_over in folder.rglob(f"{PART_PREFIX}*"):
        shutil.rmtree(left_over, ignore_errors=True)


def _inside(folder: Path, path: str) -> Path:
    """A path below the folder; a manifest comes from elsewhere and may name anything."""
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ContractError(f"the model names a file outside its folder ({path}); do not use it.")
    return target


def _artifacts(uri: str) -> Any:
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    # Callers show their own progress, in bytes of all files.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return ModelsArtifactRepository(uri)


def _files_below(artifacts: Any, folder: str | None = None) -> set[str]:
    paths = set()
    for file in artifacts.list_artifacts(folder):
        if not file.path.endswith(LEFT_BY_LOADING):
            paths |= _files_below(artifacts, file.path) if file.is_dir else {file.path}
    return paths


def _known(client: "MlflowClient", name: str) -> str:
    """What there is of a name, or which names there are, for an error's remedy."""
    try:
        model = client.get_registered_model(name)
    except Exception as error:
        if not is_absent(error):
            raise
        names = sorted(model.name for model in client.search_registered_models(max_results=20))
        return f"the names {', '.join(names)}" if names else "no model yet"
    aliases = ", ".join(f"@{alias} (version {version})" for alias, version in sorted(model.aliases.items()))
    return f"of this name {aliases or 'versions without alias'}"
