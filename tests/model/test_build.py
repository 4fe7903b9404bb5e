"""A base fills the model exactly, or one sentence says which tensor does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.build import build_model
from model.errors import DataError
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.variants import Variant
from model.weights import ENCODERS_FILE, LANGUAGE_FOLDER
from tests.model.sphinx_x.tiny_models import tiny_variant
from tests.support.gloo import run_gloo

LLAMA = tiny_variant("llama")
TINY = LLAMA.model_copy(update={"name": "tiny"})
TINY_OF_SOME_SIZE = TINY.model_copy(update={"language": LLAMA.language.model_copy(update={"vocab": 300_000})})


def write_base(folder: Path, model: SphinxXForConditionalGeneration, language: bool) -> str:
    folder.mkdir(exist_ok=True)
    encoders = {name: value.contiguous() for name, value in model.state_dict().items() if name.startswith(("conv.", "vit."))}
    save_file(encoders, folder / ENCODERS_FILE)
    if language:
        (folder / LANGUAGE_FOLDER).mkdir(exist_ok=True)
        state = model.language.state_dict()
        half = len(state) // 2
        for number, names in enumerate((list(state)[:half], list(state)[half:])):
            save_file({name: state[name] for name in names}, folder / LANGUAGE_FOLDER / f"model-{number}.safetensors")
    return str(folder)


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_a_base_gives_every_weight_that_it_holds(kind: str, tmp_path: Path) -> None:
    variant = tiny_variant(kind).model_copy(update={"name": "tiny"})
    source = build_model(variant, None, seed=5)
    built = build_model(variant, write_base(tmp_path, source, language=True), seed=6)
    for name, value in built.state_dict().items():
        drawn = name.startswith("fusion.") and "norm" not in name
        assert torch.equal(value, source.state_dict()[name]) != drawn, name
    ids = torch.randint(3, 200, (2, 9))
    assert torch.equal(built.eval()(ids).logits, source.eval()(ids).logits)  # also what is in no file: rotary frequencies


def test_nano_needs_no_language_model_and_starts_it_from_the_seed(tmp_path: Path) -> None:
    base = write_base(tmp_path, build_model(LLAMA, None, seed=5), language=False)
    first, again, other = (build_model(LLAMA, base, seed=seed) for seed in (1, 1, 2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert value.isfinite().all()
    weights = [model.language.model.layers[1].mlp.up_proj.weight for model in (first, other)]
    assert not torch.equal(*weights)
    assert float(weights[0].detach().std()) == pytest.approx(0.02, rel=0.1)
    ids = torch.randint(3, 200, (1, 9))
    assert first(ids).logits.isfinite().all()


def test_building_leaves_the_random_state_and_the_default_type_alone(tmp_path: Path) -> None:
    base = write_base(tmp_path, build_model(LLAMA, None), language=False)
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    half = build_model(LLAMA, base, dtype=torch.bfloat16)
    assert torch.equal(torch.rand(3), expected)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.language.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


def broken(folder: Path, variant: Variant, change) -> str:
    base = write_base(folder, build_model(variant, None), language=True)
    path = folder / LANGUAGE_FOLDER / "model-1.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return base


def test_a_missing_a_foreign_and_a_misshapen_tensor_are_each_named(tmp_path: Path) -> None:
    def drop(tensors: dict) -> None:
        del tensors["model.norm.weight"]

    def add(tensors: dict) -> None:
        tensors["model.layers.7.bias"] = torch.zeros(3)

    def reshape(tensors: dict) -> None:
        tensors["lm_head.weight"] = torch.zeros(7, 64)

    for number, (change, words) in enumerate(
        [
            (drop, "1 tensors are missing, the first is model.norm.weight"),
            (add, "tensor model.layers.7.bias is not part of this model"),
            (reshape, r"tensor lm_head.weight is \(7, 64\), the model needs \(300, 64\)"),
        ]
    ):
        with pytest.raises(DataError, match=words) as refusal:
            build_model(TINY, broken(tmp_path / str(number), TINY, change))
        assert "\n" not in str(refusal.value)


def test_a_base_without_encoders_or_language_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="encoders.safetensors is missing; make the base directory again"):
        build_model(LLAMA, str(tmp_path))
    base = write_base(tmp_path, build_model(LLAMA, None), language=False)
    with pytest.raises(DataError, match=r"tiny starts from .*; make the base with python -m model.convert"):
        build_model(TINY, base)


def build_and_measure(base: str, dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of this process's own memory that a model takes, and bytes of the model."""
    before = own_bytes()
    model = build_model(TINY_OF_SOME_SIZE, base, dtype)
    return own_bytes() - before, sum(value.numel() * value.element_size() for value in model.language.state_dict().values())


def own_bytes() -> int:
    """Memory that no other process shares."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_processes_that_build_from_one_base_share_its_weights(tmp_path: Path) -> None:
    model = build_model(TINY_OF_SOME_SIZE, None, torch.bfloat16)
    base = write_base(tmp_path, model, language=True)
    del model
    ((own, whole),) = run_gloo(1, build_and_measure, base, torch.bfloat16)
    assert whole > 60_000_000
    assert own < 0.3 * whole
    ((own, whole),) = run_gloo(1, build_and_measure, base, torch.float32)
    assert own > 0.9 * whole  # of another type: copied
