"""Settings for loading a model in 8 or 4 bits (bitsandbytes, the extra `quantised`), or why that cannot be done."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from model.errors import ConfigError

Quantise = Literal["8bit", "4bit"]


def quantisation(kind: Quantise, folder: Path) -> Any:
    """transformers' `quantization_config` for an exported model: LLM.int8, or 4-bit NormalFloat computing in bfloat16.

    Raises:
        ConfigError: the packages are missing, or the model is one that bitsandbytes leaves nearly as it is.
    """
    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"loading in {kind} needs {' and '.join(missing)}; install sphinx-x with the extra 'quantised'.")
    language = json.loads((folder / "config.json").read_text(encoding="utf-8"))["text_config"]
    if language.get("num_local_experts", 1) > 1:
        # transformers holds all experts of a layer in one tensor, and bitsandbytes replaces Linear layers only.
        raise ConfigError(f"{kind} would leave a mixture's experts, nearly all of its weights, as they are; load it without.")
    import torch
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # one line a layer and token about casts that are meant
    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
