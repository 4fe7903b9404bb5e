"""Move the alias `champion` to a version that passed the gate: forwards only, and only past the champion it was compared with."""

from typing import NamedTuple

from components.shared.mlflow_client import explained, is_absent, open_client
from model.contracts.release import CHAMPION, Tag
from model.errors import RegistryError


class Promotion(NamedTuple):
    """Who is champion now."""

    champion_version: str
    moved: bool
    reason: str
    """One sentence."""


def run(registered_name: str, version: str) -> Promotion:
    """Make a version champion, unless it or a later one is champion already.

    A version's tags say which champion it was judged against. Where another one was promoted since then, nobody has compared
    the two, and the alias stays.

    Raises:
        RegistryError: the gate is closed for this version, the champion changed since it was judged, or MLflow fails.
    """
    client = open_client()
    with explained(f"promote {registered_name} version {version}"):
        tags = client.get_model_version(registered_name, version).tags
        if tags.get(Tag.GATE) != "open":
            raise RegistryError(
                f"version {version} of {registered_name} did not pass the gate ({tags.get(Tag.GATE_REASON, 'it was not judged')}); "
                "it stays candidate."
            )
        champion = _champion(registered_name)
        if champion is not None and int(champion) >= int(version):
            same = champion == version
            return Promotion(
                champion, False, "It is champion already." if same else f"The later version {champion} stays champion."
            )
        judged_against = tags.get(Tag.GATE_CHAMPION) or None
        if champion != judged_against:
            raise RegistryError(
                f"{registered_name} version {version} was judged against {_words(judged_against)}, but the champion is now "
                f"{_words(champion)}; run the pipeline again, which repeats the comparison alone."
            )
        client.set_registered_model_alias(registered_name, CHAMPION, version)
    return Promotion(version, True, f"It replaces {_words(champion)}.")


def _champion(registered_name: str) -> str | None:
    try:
        return str(open_client().get_model_version_by_alias(registered_name, CHAMPION).version)
    except Exception as error:
        if is_absent(error):
            return None
        raise


def _words(version: str | None) -> str:
    return f"version {version}" if version else "no champion"
