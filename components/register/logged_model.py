"""A LoggedModel: the exported Hugging Face directory with an `MLmodel`, results, report and model card at its root.

transformers reads the folder as it is, and so does `mlflow.pyfunc`: its loader is a file of this folder and finds the weights
beside itself. The big files go straight from the export to MLflow, one at a time; the small ones are written into a scratch
folder first (the "envelope").
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from components.shared.registry import RESULTS_FOLDER
from model import storage
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, ModelManifest, StoredFile
from model.contracts.evaluation import Result
from model.contracts.release import Tag
from model.errors import ContractError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOADER = Path(__file__).with_name("sphinx_x_pyfunc.py")
PYFUNC_FILES = (LOADER.name, "conda.yaml", "python_env.yaml", "requirements.txt")
REPORT_FILE, CARD_FILE = "report.html", "README.md"
REQUIREMENTS = (
    "torch>=2.11", "torchvision>=0.26", "transformers>=5.17", "timm>=1.0.24", "safetensors>=0.6", "sentencepiece>=0.2.1",
    "protobuf>=5", "pillow>=11.3", "numpy>=2.0", "pandas>=2",
)  # fmt: skip
"""What answering needs: the project's extra `model` (a test compares them), and pandas for pyfunc's tables."""


def find_logged_model(client: "MlflowClient", experiment: str, tags: Mapping[str, str]) -> Any | None:
    """The LoggedModel of this model and these results: finished, or left unfinished by a killed run."""
    wanted = " AND ".join(f"tags.`{tag}` = '{tags[tag]}'" for tag in (Tag.MODEL_DIGEST, Tag.RESULTS_DIGEST))
    found = [model for model in client.search_logged_models([experiment], wanted) if str(model.status) != "FAILED"]
    return min(found, key=lambda model: (str(model.status) != "READY", model.creation_timestamp), default=None)


def upload(client: "MlflowClient", model_id: str, model_uri: str, manifest: ModelManifest, envelope: Path) -> None:
    """Bring all files of a model to MLflow; those that an earlier, killed call brought are not sent again.

    Raises:
        ContractError: an exported file is not what its manifest says.
    """
    present = _sizes(client, model_id)
    for file in manifest.files:
        if present.get(file.path) == file.bytes:
            continue
        with _checked_file(model_uri, file) as local:
            parent = file.path.rpartition("/")[0]
            client.log_model_artifact(model_id, str(local), parent or None)
    client.log_model_artifacts(model_id, str(envelope))


def write_envelope(
    folder: Path, model_id: str, manifest: ModelManifest, results: list[Result], report: Path, card: str
) -> None:
    """Everything at a registered model's root besides the exported files."""
    _write_pyfunc(folder, model_id, sum(file.bytes for file in manifest.files))
    (folder / MODEL_MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    (folder / REPORT_FILE).write_bytes(report.read_bytes())
    for result in results:
        result.write(folder / RESULTS_FOLDER / f"{result.name}.json")


def _write_pyfunc(folder: Path, model_id: str, num_bytes: int) -> None:
    """MLmodel and the loader, as `mlflow.pyfunc.save_model` writes them, with the folder itself as the checkpoint."""
    from mlflow import pyfunc

    for chatty in ("mlflow.utils.uv_utils", "mlflow.utils.environment"):  # the requirements are given, not searched for
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="sphinx-x-") as scratch, warnings.catch_warnings():
        # MLflow asks for an example to infer a signature from; ours is given.
        warnings.simplefilter("ignore")
        saved = Path(scratch) / "model"
        pyfunc.save_model(
            str(saved), python_model=str(LOADER), signature=_signature(), pip_requirements=list(REQUIREMENTS), streamable=False
        )
        fields = yaml.safe_load((saved / "MLmodel").read_text())
        flavour = fields["flavors"]["python_function"]
        # MLflow takes the file beside MLmodel; the path that it was saved from is nobody's business.
        flavour["model_code_path"] = LOADER.name
        flavour["artifacts"] = {"checkpoint": {"path": ".", "uri": "."}}
        fields |= {"model_id": model_id, "model_size_bytes": num_bytes}
        for name in PYFUNC_FILES:  # MLflow adds the pyproject.toml and uv.lock of whatever folder it is called in
            (folder / name).write_bytes((saved / name).read_bytes())
    (folder / "MLmodel").write_text(yaml.safe_dump(fields, sort_keys=True))


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        # Any: a path, bytes, base64 text or a list of these.
        inputs=Schema([ColSpec(AnyType(), "image", required=False), ColSpec(DataType.string, "question")]),
        outputs=Schema([ColSpec(DataType.string, "answer")]),
        params=ParamSchema([ParamSpec("max_new_tokens", DataType.long, 256)]),
    )


@contextmanager
def _checked_file(model_uri: str, file: StoredFile) -> Iterator[Path]:
    """A local copy of one exported file (the file itself where it is local), after its digest was checked."""
    with tempfile.TemporaryDirectory(prefix="sphinx-x-") as scratch:
        folder = storage.local_path(model_uri)
        path = Path(scratch) / Path(file.path).name if folder is None else folder / file.path
        if folder is None:
            storage.download_file(storage.join(model_uri, file.path), path)
        if not path.is_file() or storage.sha256_of(path) != file.sha256:
            raise ContractError(
                f"{model_uri}/{file.path} is not what the model's manifest says; remove it and run the train step again."
            )
        yield path


def _sizes(client: "MlflowClient", model_id: str, folder: str | None = None) -> dict[str, int]:
    """Bytes of every file that MLflow holds of a model."""
    sizes = {}
    for file in client.list_logged_model_artifacts(model_id, folder):
        sizes |= _sizes(client, model_id, file.path) if file.is_dir else {file.path: int(file.file_size or 0)}
    return sizes
