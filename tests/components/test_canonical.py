"""A TrainJob is spelt as a controller in Go would write it back; the expected spellings are those of Kubernetes' resource.Quantity."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils import parse_quantity

from components.train.canonical import canonical_quantity, without_empty


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"), ("1500m", "1500m"), ("0.5", "500m"), ("1", "1"), ("1e3", "1k"), ("12000", "12k"), ("0", "0"), ("0Gi", "0"),
        ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1500Mi", "1500Mi"), ("2048Ki", "2Mi"), ("16G", "16G"), ("0.5Ki", "512"),
        ("128Gi", "128Gi"), ("1000Ki", "1000Ki"), ("8", "8"), ("1u", "1u"), ("0.1n", "1n"),
    ],
)  # fmt: skip
def test_a_quantity_has_one_spelling(text, canonical):
    assert canonical_quantity(text) == canonical


@given(number=st.integers(0, 10**7), suffix=st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]))
def test_the_spelling_keeps_the_amount_and_is_its_own(number, suffix):
    canonical = canonical_quantity(f"{number}{suffix}")
    assert parse_quantity(canonical) == parse_quantity(f"{number}{suffix}")
    assert canonical_quantity(canonical) == canonical


def test_what_is_no_quantity_is_left_to_the_api_server():
    assert canonical_quantity("lots") == "lots"
    assert canonical_quantity("") == ""


def test_nothing_empty_is_left_and_nothing_else_is_lost():
    asked = {
        "args": [],
        "env": [{"name": "EMPTY", "value": ""}, {"name": "ZERO", "value": "0"}],
        "count": 0,
        "no": False,
        "in": {"it": {}},
    }
    kept = without_empty(asked)
    assert kept == {"env": [{"name": "EMPTY"}, {"name": "ZERO", "value": "0"}], "count": 0, "no": False}
    assert json.loads(json.dumps(kept)) == kept
