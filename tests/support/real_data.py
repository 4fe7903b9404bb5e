"""Where the small real data lies: SPHINX_X_DATA, else `../shared/data` beside the checkout; tests skip without it."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def real_data() -> Path:
    """The folder with cells/, receipts/, pages/ and papers/; skips the test where there is none."""
    folder = Path(os.environ.get("SPHINX_X_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "cells").is_dir():
        pytest.skip(f"no real data at {folder}; set SPHINX_X_DATA to the folder that holds cells/ and receipts/")
    return folder
