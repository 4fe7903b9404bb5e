"""What directories of weights say of themselves: base directories and exported models. No torch here.

A base directory holds `base.json`, `tokenizer.model`, `encoders.safetensors` (`conv.*` and `vit.*`) and, for every size but nano,
`language/` (a Hugging Face directory); where training goes on from a trained fusion, `fusion.safetensors`. `python -m model.convert` makes one from published weights, the demo's prelude nano's.
"""

from model import storage
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, BaseModel, ModelManifest
from model.errors import ContractError, DataError

BASE_FILE, TOKENIZER_FILE, ENCODERS_FILE, LANGUAGE_FOLDER = "base.json", "tokenizer.model", "encoders.safetensors", "language"
FUSION_FILE = "fusion.safetensors"
"""Projection, norm, tags and skip token, under the names of `model.sphinx_x.encoders.Fusion`."""


def read_base(base_uri: str) -> BaseModel:
    """What a base directory says of itself; `base.json` is written last.

    Raises:
        DataError: there is no base directory.
    """
    uri = storage.join(base_uri, BASE_FILE)
    if not storage.exists(uri):
        raise DataError(f"{base_uri} is no base directory ({BASE_FILE} is missing); make one with python -m model.convert.")
    try:
        return BaseModel.model_validate_json(storage.read_bytes(uri))
    except ValueError as error:
        raise ContractError(f"{uri} is not a base description ({str(error)[:120]}); make the base directory again.") from error


def read_model_manifest(model_uri: str) -> ModelManifest:
    """What an exported model says of itself; the manifest is written last.

    Raises:
        DataError: there is no exported model.
    """
    uri = storage.join(model_uri, MODEL_MANIFEST_FILE)
    if not storage.exists(uri):
        raise DataError(f"{model_uri} is no exported model ({MODEL_MANIFEST_FILE} is missing); run the train step first.")
    return ModelManifest.from_json(storage.read_bytes(uri), uri)
