"""What the tests of training share: one tiny corpus and base, made once."""

from pathlib import Path

import pytest

from tests.support.tiny import make_spec


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A folder with the tiny corpus and base; runs go to stores of their own."""
    folder = tmp_path_factory.mktemp("tiny")
    make_spec(folder)
    return folder
