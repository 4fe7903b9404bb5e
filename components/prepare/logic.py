"""Decide whether there is anything to train, and from what: the base that was given, or the champion turned into one."""

from typing import NamedTuple

from components.shared.registry import RegisteredVersion, fetch_model, newest_version, registered_champion
from components.shared.task import tell
from model import storage
from model.contracts.release import Tag
from model.errors import ConfigError, SphinxError
from model.train.spec import read_corpus_manifest
from model.variants import variant_named
from model.weights import BASE_FILE, read_base, read_model_manifest

START_FROM, WHEN_UNCHANGED = ("base", "champion"), ("train", "stop")
YES, NO = "yes", "no"


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    go_on: str
    base_uri: str
    base_digest: str
    reason: str
    """The decision in a sentence."""


def run(
    corpus_uri: str,
    variant: str,
    registered_name: str,
    start_from: str,
    when_unchanged: str,
    base_uri: str,
    base_digest: str,
    store_uri: str,
) -> Outputs:
    """Returns the decision.

    Raises:
        ConfigError: a choice is none of its values.
        RegistryError: MLflow does not answer.
        DataError: the champion's parts are not those of the variant.
    """
    for name, value, choices in (("start_from", start_from, START_FROM), ("when_unchanged", when_unchanged, WHEN_UNCHANGED)):
        if value not in choices:
            raise ConfigError(f"{name} is '{value}'; choose one of {', '.join(choices)}.")
    corpus = read_corpus_manifest(corpus_uri)
    newest = newest_version(registered_name)
    known = newest is not None and (newest.tags.get(Tag.CORPUS_DIGEST), newest.tags.get(Tag.VARIANT)) == (
        corpus.digest,
        variant,
    )
    if newest is not None and known and when_unchanged == "stop":
        said = (
            f"Nothing new: version {newest.version} of {registered_name} was trained on this very corpus "
            f"({corpus.digest[:12]}, {corpus.samples} samples), so the run ends here."
        )
        return _told(NO, base_uri, base_digest, said)
    champion = registered_champion(registered_name) if start_from == "champion" else None
    if champion is None:
        missing = f"; {registered_name} has no champion yet" if start_from == "champion" else ""
        return _told(YES, base_uri, base_digest, f"Training starts from {base_uri}{missing}.")
    uri, digest = _base_of(champion, variant, store_uri)
    return _told(YES, uri, digest, f"Training goes on from version {champion.version} of {registered_name}, at {uri}.")


def base_name(version: RegisteredVersion) -> str:
    """Name of the base that is made of a registered version."""
    return f"{version.name}-{version.tags[Tag.MODEL_DIGEST][:12]}"


def _base_of(champion: RegisteredVersion, variant: str, store_uri: str) -> tuple[str, str]:
    """The champion as a base directory in the store, made at its first use."""
    uri = storage.join(store_uri, "bases", base_name(champion))
    if not storage.exists(storage.join(uri, BASE_FILE)):
        from model.convert.exported import make_base_of_model  # torch

        make_base_of_model(variant_named(variant), _files_of(champion, variant, store_uri), uri)
    return uri, read_base(uri).digest


def _files_of(champion: RegisteredVersion, variant: str, store_uri: str) -> str:
    """Where the champion's files are: in this store as training exported them, else pulled from the registry."""
    exported = storage.join(store_uri, "models", f"{variant}-{champion.tags[Tag.RUN_DIGEST][:12]}")
    try:
        if read_model_manifest(exported).digest == champion.tags[Tag.MODEL_DIGEST]:
            return exported
    except SphinxError:
        pass  # trained in another store, or removed from this one
    return str(fetch_model(champion.uri))


def _told(go_on: str, base_uri: str, base_digest: str, reason: str) -> Outputs:
    print(reason)
    tell("prepare", "", "running", note=reason.rstrip("."))
    return Outputs(go_on, base_uri, base_digest, reason)
