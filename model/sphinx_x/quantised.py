"""Loading in 8 or 4 bits by bitsandbytes: which layers stay as they are.

The encoders and the fusion are a small part of a large model, and what they lose the language model never sees; the head decides
between tokens by small differences. bitsandbytes' 4-bit kernels for CPUs take no layer whose sides its blocks do not divide (nano's
feed-forward).
"""

import copy
from typing import Any

from transformers import BitsAndBytesConfig

KEPT = ("conv", "vit", "fusion", "language.lm_head")
"""Modules that keep their floating type."""
BLOCK_VALUES = 64
"""Values that share a scale in bitsandbytes' 4-bit format."""


def keep_what_suffers(quantisation: BitsAndBytesConfig, text_config: Any) -> BitsAndBytesConfig:
    """The same settings with the modules to keep filled in; whoever names some gets those."""
    if quantisation.llm_int8_skip_modules is not None:
        return quantisation
    uneven = [r"language\.model\.layers\.\d+\.mlp"] if text_config.intermediate_size % BLOCK_VALUES else []
    filled = copy.copy(quantisation)
    filled.llm_int8_skip_modules = [*KEPT, *uneven]
    return filled
