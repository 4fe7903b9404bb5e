"""Nano's base: loadable, the same from the same seed, recognised when it is finished."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.build import build_model
from model.demo.prelude import make_nano_base
from model.demo.pretrain import PretrainSettings
from model.errors import DataError
from model.sphinx_x.pieces import Pieces
from model.variants import VARIANTS
from model.weights import BASE_FILE, ENCODERS_FILE, TOKENIZER_FILE, read_base

QUICK = PretrainSettings(steps=3, scenes=12, batch_scenes=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_nano_base(str(folder), seed=5, settings=QUICK, processes=1)
    return folder


def test_a_base_is_loaded_as_nano_and_answers_in_its_own_vocabulary(base):
    model = build_model(VARIANTS["nano"], str(base))
    weights = load_file(base / ENCODERS_FILE)
    for name, tensor in model.state_dict().items():
        if name.startswith(("conv.", "vit.")):
            assert torch.equal(tensor, weights[name])
    assert Pieces(str(base / TOKENIZER_FILE)).num_pieces == model.config.text_config.vocab_size


def test_pretraining_moves_every_tensor_of_both_encoders(base, tmp_path):
    make_nano_base(str(tmp_path), seed=5, settings=replace(QUICK, steps=2), processes=1)
    earlier, later = load_file(tmp_path / ENCODERS_FILE), load_file(base / ENCODERS_FILE)
    assert [name for name in later if torch.equal(earlier[name], later[name])] == []


def test_equal_seeds_give_equal_bytes_whatever_the_number_of_processes(base, tmp_path):
    again = make_nano_base(str(tmp_path), seed=5, settings=QUICK, processes=2)
    assert again.digest == read_base(str(base)).digest
    assert (tmp_path / ENCODERS_FILE).read_bytes() == (base / ENCODERS_FILE).read_bytes()


def test_a_finished_base_is_left_as_it_is(base):
    before = (base / ENCODERS_FILE).stat().st_mtime_ns
    found = make_nano_base(str(base), seed=5, settings=QUICK)
    assert found == read_base(str(base))
    assert (base / ENCODERS_FILE).stat().st_mtime_ns == before


def test_an_interrupted_base_is_made_again(base, tmp_path):
    (tmp_path / ENCODERS_FILE).write_bytes(b"half")
    assert make_nano_base(str(tmp_path), seed=5, settings=QUICK, processes=1).digest == read_base(str(base)).digest


def test_a_base_of_another_seed_is_not_overwritten(base):
    before = (base / BASE_FILE).read_bytes()
    with pytest.raises(DataError, match="holds another base"):
        make_nano_base(str(base), seed=6, settings=QUICK)
    assert (base / BASE_FILE).read_bytes() == before


def test_progress_ends_at_its_total(tmp_path):
    shown = []
    settings = replace(QUICK, steps=7)
    make_nano_base(str(tmp_path), 5, lambda done, total, text: shown.append((done, total, text)), settings, processes=1)
    assert shown[-1][:2] == (7, 7)
