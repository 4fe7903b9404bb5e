"""The way to MLflow: where it is, one client, and every failure of it as one sentence. MLflow itself is imported late.

Settings are MLflow's own, the same on a laptop, in a component and in a TrainJob: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME. Without a tracking URI a laptop
has a database in its workspace, `.sphinx-x/mlflow.db`, and its files beside it in `.sphinx-x/mlartifacts`.
"""

import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import RegistryError, SphinxError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "sphinx-x"
"""Experiment of all runs, unless the environment names another."""
WORKSPACE = Path(".sphinx-x")
CHECK_TIMEOUT_SECONDS = 5
"""How long `check_reachable` waits for an answer: validation should fail in seconds."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the database in the workspace below the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{WORKSPACE.resolve() / 'mlflow.db'}"


def open_client() -> "MlflowClient":
    """A client of the tracking server and its registry; asks nothing yet, except that it opens a local database.

    Raises:
        RegistryError: the database cannot be opened.
    """
    # MLflow reports usage to its makers unless told otherwise; whoever wants that sets the variable to false.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    uri = tracking_uri()
    with explained("open MLflow"):
        import mlflow

        for chatty in ("mlflow.store", "alembic"):  # a database tells of its tables, a registry of its waiting
            logging.getLogger(chatty).setLevel(logging.WARNING)
        if (database := _database_file(uri)) is not None and not database.exists():
            _make_database(database)
        # Artifact repositories of models:/ URIs ask the process for its tracking URI, not the client.
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return mlflow.MlflowClient(uri, uri)


def has_database() -> bool:
    """Whether there is anything to ask: False only where MLflow would be a local database and nobody has made it yet."""
    database = _database_file(tracking_uri())
    return database is None or database.exists()


def experiment_id(client: "MlflowClient") -> str:
    """The experiment that runs belong to; made where it is not there yet."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    if (found := client.get_experiment_by_name(name)) is not None:
        return found.experiment_id
    database = _database_file(tracking_uri())
    # A server decides itself where files go; a database alone would put them into the working directory.
    place = None if database is None else (database.parent / "mlartifacts").resolve().as_uri()
    try:
        return client.create_experiment(name, artifact_location=place)
    except Exception:
        if (made_meanwhile := client.get_experiment_by_name(name)) is not None:
            return made_meanwhile.experiment_id
        raise


def check_reachable() -> str:
    """Ask MLflow one question with a short time-out, as runs will ask it.

    /health is not asked: it answers even where the server refuses the host name of every other call.

    Returns:
        The tracking URI, without credentials.

    Raises:
        RegistryError: one sentence: MLflow does not answer, refuses, or its database cannot be used.
    """
    uri = tracking_uri()
    if (database := _database_file(uri)) is not None:
        _check_database(database)
        return uri
    with impatient(), explained("reach MLflow"):
        open_client().search_experiments(max_results=1)
    return without_credentials(uri)


def without_credentials(uri: str) -> str:
    """A URI without user, password and query: fit for tags, parameters and error messages."""
    return re.sub(r"\?.*$", "", re.sub(r"(?<=//)[^/@]*@", "", uri))


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn any failure of MLflow into one sentence.

    Args:
        what: What was tried, after "cannot": "register sphinx-x-nano".

    Raises:
        RegistryError: with the server's address and the remedy.
    """
    try:
        yield
    except SphinxError:
        raise
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        where = without_credentials(tracking_uri())
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, text):
                raise RegistryError(f"cannot {what}: MLflow at {where} {remedy}.") from error
        raise RegistryError(f"cannot {what}: MLflow at {where} says {text[:300]}; correct that and run again.") from error


def is_absent(error: Exception) -> bool:
    """Whether MLflow answered that what was asked for is not there."""
    code = getattr(error, "error_code", "")
    return code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND") or (
        code == "INVALID_PARAMETER_VALUE" and re.search(r"alias .* not found", str(error)) is not None
    )


_REMEDIES: tuple[tuple[str, str], ...] = (
    (r"Invalid Host header", "refuses this host name; add it, with and without the port, to MLFLOW_SERVER_ALLOWED_HOSTS of the server"),
    (r"'kubernetes' package is required", "is to be asked with MLFLOW_TRACKING_AUTH=kubernetes, which needs mlflow[kubernetes]; "
                                          "install it or unset the variable"),
    (r"\b401\b|UNAUTHENTICATED|Unauthorized", "does not accept the credentials; set MLFLOW_TRACKING_USERNAME and "
                                              "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
    (r"\b403\b|PERMISSION_DENIED|Permission denied", "refuses this user; ask its owner for permission on the experiment and the model"),
    (r"sqlalchemy|alembic|unsupported URI .sqlite", "is a local database, which needs the whole of MLflow; run: pip install 'sphinx-x[tracking]', or set "
                            "MLFLOW_TRACKING_URI to a server"),
    (r"No module named 'mlflow'", "needs a package that is not installed; run: pip install 'sphinx-x[registry]'"),
    (r"No space left|disk is full", "has no space left for files; free some and run again"),
    (r"unable to open database|not a database|readonly database", "cannot be opened as a database; check the file and its owner, or "
                                                                  "move it away to start a new one"),
    (r"out-of-date database schema", "was made by an older MLflow; run: mlflow db upgrade <tracking URI>"),
    (r"Max retries|Connection|[Tt]imed? ?out|Name or service not known|failed with exception",
     "does not answer; check MLFLOW_TRACKING_URI and that the server runs"),
)  # fmt: skip


def _database_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _make_database(file: Path) -> None:
    """A new database appears whole or not at all: a first start that is killed among MLflow's many migrations would leave a file
    that no later start can use."""
    import mlflow

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder, file.name)
        mlflow.MlflowClient(f"sqlite:///{unfinished}", f"sqlite:///{unfinished}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another process was faster
            os.link(unfinished, file)


def _check_database(file: Path) -> None:
    """Without importing MLflow: the first start of its database takes seconds."""
    with explained("use the database"):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):
            raise RegistryError(f"MLflow's database {file} cannot be written; check the owner of its folder.")
        if file.exists():
            connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
            try:
                connection.execute("select count(*) from sqlite_master")
            finally:
                connection.close()


@contextmanager
def impatient() -> Iterator[None]:
    """For questions whose answer is not worth waiting for: MLflow's client with a short time-out and one try."""
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(CHECK_TIMEOUT_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    before = {name: os.environ.get(name) for name in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
