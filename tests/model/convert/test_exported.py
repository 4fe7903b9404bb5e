"""A model of ours becomes a base: what is built from it is the model to the bit, and only where the parts are the same."""

from pathlib import Path

import pytest
import torch

from model.build import build_model
from model.convert.__main__ import main
from model.convert.exported import make_base_of_model
from model.errors import DataError
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.variants import Variant, variant_named
from model.weights import read_base
from tests.model.test_export import DESCRIBED, export
from tests.support.tiny import make_base

NANO = variant_named("nano")


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def exported(request, tmp_path_factory) -> tuple[SphinxXForConditionalGeneration, str]:
    """A model whose fusion no seed draws, and where it was exported to in several files."""
    folder = tmp_path_factory.mktemp("exported")
    base = make_base(folder / "base")
    model = build_model(NANO, base, request.param, seed=3)
    with torch.no_grad():
        for parameter in model.fusion.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)))
    export(model, base, str(folder / "model"), max_file_bytes=400_000)
    return model, str(folder / "model")


@pytest.mark.parametrize("variant", [NANO, NANO.model_copy(update={"geometry": NANO.geometry.model_copy(update={"grid": 3})})])
def test_what_is_built_from_a_model_s_base_is_the_model_to_the_bit(variant: Variant, exported, tmp_path: Path) -> None:
    model, uri = exported
    make_base_of_model(variant, uri, str(tmp_path / "base"))
    built = build_model(variant, str(tmp_path / "base"), next(model.parameters()).dtype, seed=99)
    state = model.state_dict()
    assert built.state_dict().keys() == state.keys()
    for name, value in built.state_dict().items():
        assert torch.equal(value, state[name]), name
    ids = torch.arange(3, 20)[None]
    assert torch.equal(built.eval()(ids).logits, model.eval()(ids).logits)


def test_the_command_makes_a_base_that_remembers_what_the_model_was_trained_on(exported, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "base")
    assert main(["--variant", "nano", "--from-model", exported[1], "--out", out]) == 0
    base = read_base(out)
    assert base.name == "sphinx-x-nano-r"
    assert base.licences == DESCRIBED["licences"]
    manifest = export(exported[0], out, str(tmp_path / "next"))
    assert manifest.licences == DESCRIBED["licences"]
    assert manifest.bases == (base,)
    assert main(["--variant", "nano", "--from-model", exported[1], "--conv", "x", "--out", out]) == 2
    assert "--from-model alone" in capsys.readouterr().err


def test_a_model_of_other_parts_and_a_damaged_file_are_refused(exported, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hidden_size is 128, but tiny has 2048|conv_.* is .*, but tiny has"):
        make_base_of_model(variant_named("tiny"), exported[1], str(tmp_path / "base"))
    wider = NANO.model_copy(update={"language": NANO.language.model_copy(update={"ffn": 352})})
    with pytest.raises(DataError, match="intermediate_size is 336, but nano has 352; take a model of the same parts"):
        make_base_of_model(wider, exported[1], str(tmp_path / "base"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in Path(exported[1]).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = sorted(copy.glob("*.safetensors"))[0]
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="is not what was exported"):
        make_base_of_model(NANO, str(copy), str(tmp_path / "base"))
    assert not (tmp_path / "base").exists()
