"""Images of the tasks: placeholders that no registry can serve, replaced by pinned digests when a pipeline is uploaded.

The compiled pipelines hold these names; the chart's values hold the digests. A cluster that sees a placeholder has a pipeline
that did not come through the uploader, and says so at once instead of pulling something by a moving tag.
"""

OPS = "registry.invalid/sphinx-x-ops:set-by-the-uploader"
"""CPU: validate, unify, merge, report, register, promote, finish."""

TRAIN = "registry.invalid/sphinx-x-train:set-by-the-uploader"
"""torch, transformers, timm and DeepSpeed: train and evaluate."""
