"""What is foretold of a run is what a run does: memory as DeepSpeed's stages divide it, FLOPs and packs as the plan has them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from model.build import build_model
from model.data.flops import train_flops
from model.data.lengths import corpus_lengths, open_pieces
from model.data.plan import make_plan
from model.recipes import load_recipe
from model.train.config import TrainConfig, load_train_config
from model.train.estimate import MAX_NODES, estimate, fits, language_bytes, memory
from model.train.machine import Machine, host_memory_gb, this_machine
from model.train.spec import read_corpus_manifest
from model.train.survey import survey
from model.train.workload import Mixture, SampleShape, assumed_shapes, drawn_workload, exact_workload
from model.variants import VARIANTS, variant_named
from tests.model.sphinx_x.tiny_models import make_pack, mixed_samples, tiny_model, tiny_variant

H200 = Machine(1, 8, 141.0)
LARGE = [name for name in VARIANTS if name != "nano"]


def configured(variant: str, **engine: object) -> TrainConfig:
    return load_train_config(variant, {"engine": engine})


@pytest.mark.parametrize("variant", LARGE)
def test_every_preset_fits_on_one_node_of_h200(variant: str) -> None:
    assert fits(variant_named(variant), load_train_config(variant), H200) is None


def test_stages_divide_what_they_should() -> None:
    tiny = variant_named("tiny")
    trained = (tiny.language.parameters + tiny.fusion_parameters) / 1e9
    parts = {stage: memory(tiny, configured("tiny", zero_stage=stage), H200) for stage in (1, 2, 3)}
    assert parts[1]["weights"] == parts[2]["weights"] == pytest.approx(2 * trained)
    assert parts[1]["gradients"] == pytest.approx(6 * trained)
    assert parts[2]["gradients"] == parts[3]["gradients"] == pytest.approx(4 * trained / 8)
    for stage in (1, 2, 3):
        assert parts[stage]["optimizer"] == pytest.approx(12 * trained / 8)
        assert parts[stage]["encoders"] == pytest.approx(2 * 1.978167680)
    plus = {stage: memory(variant_named("plus"), configured("plus", zero_stage=stage), H200) for stage in (2, 3)}
    assert plus[3]["weights"] < plus[2]["weights"] / 4


def test_experts_are_divided_by_the_expert_parallel_size() -> None:
    moe = variant_named("moe")
    alone, shared = (memory(moe, configured("moe", expert_parallel_size=size), H200) for size in (1, 8))
    assert alone["weights"] == pytest.approx(2 * 46.72, rel=1e-3)
    assert shared["weights"] == pytest.approx(2 * (46.72 - 45.10 * 7 / 8), rel=1e-2)
    assert alone["optimizer"] == shared["optimizer"]


def test_float32_weighs_as_the_built_model_does() -> None:
    nano = variant_named("nano")
    model = build_model(nano, None)
    parts = memory(nano, configured("nano", zero_stage=0), Machine(1, 1, 8, "cpu"))
    sizes = {name: sum(p.numel() * p.element_size() for p in getattr(model, name).parameters()) / 1e9
             for name in ("conv", "vit", "fusion", "language")}  # fmt: skip
    assert parts["encoders"] == pytest.approx(sizes["conv"] + sizes["vit"])
    assert parts["weights"] == parts["gradients"] == pytest.approx(sizes["fusion"] + sizes["language"])
    assert parts["optimizer"] == pytest.approx(2 * parts["weights"])


def kept_for_backward(kind: str, checkpointing: bool) -> tuple[float, TrainConfig]:
    """Bytes of every tensor that autograd saves in a forward pass, and the configuration of that pack."""
    model = tiny_model(kind)
    pack = make_pack(mixed_samples() * 6, model)
    budgets = {"tokens_per_pack": len(pack.input_ids), "views_per_pack": len(pack.conv_views)}
    pack.features = model.encode_views(pack.conv_views, pack.vit_views)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = model.pack_outputs(pack)
    model.gradient_checkpointing_disable()
    model.eval()
    assert outputs.last_hidden_state.requires_grad
    return sum(kept.values()), load_train_config(
        "nano", {"packs": budgets, "engine": {"activation_checkpointing": checkpointing}}
    )


@pytest.mark.parametrize("kind", ["llama", "mixtral"])
def test_activations_are_as_many_bytes_as_autograd_keeps(kind: str) -> None:
    """And what the backward pass of one layer adds: some tenths more with as few layers as here."""
    variant = tiny_variant(kind)
    everything, config = kept_for_backward(kind, checkpointing=False)
    assert everything < language_bytes(variant, config, 4) < 1.3 * everything
    between_layers, config = kept_for_backward(kind, checkpointing=True)
    at_most = between_layers + everything / variant.language.layers
    assert at_most < language_bytes(variant, config, 4) < 1.5 * at_most


def test_what_does_not_fit_says_so_in_one_sentence_with_a_remedy_that_helps() -> None:
    plus = variant_named("plus")
    small = Machine(1, 8, 40.0)
    sentence = fits(plus, load_train_config("plus"), small)
    assert sentence is not None
    assert sentence.startswith("plus needs about ")
    assert "GB on each of 8 GPUs" in sentence
    assert "and one has 40 GB; set engine.zero_stage=3" in sentence
    remedy = dict(part.split("=") for part in sentence.split("; set ")[1].rstrip(".").split())
    mended = configured("plus", **{name.removeprefix("engine."): yaml.safe_load(value) for name, value in remedy.items()})
    assert fits(plus, mended, small) is None


@pytest.mark.parametrize("variant", LARGE)
@pytest.mark.parametrize("memory_gb", [24, 40, 80, 141])
def test_more_nodes_that_are_proposed_do_hold_it(variant: str, memory_gb: float) -> None:
    config = load_train_config(variant)
    for gpus in (1, 8):
        sentence = fits(variant_named(variant), config, Machine(1, gpus, memory_gb))
        if sentence is None or "use " not in sentence:
            continue
        nodes = int(sentence.split("use ")[1].split()[0])
        stage = int(sentence.split("zero_stage=")[1][0])
        engine = config.engine.model_copy(update={"zero_stage": stage, "activation_checkpointing": True})
        assert (
            fits(variant_named(variant), config.model_copy(update={"engine": engine}), Machine(nodes, gpus, memory_gb)) is None
        )
        assert nodes <= MAX_NODES


def test_a_large_variant_on_a_laptop_is_refused_and_nano_is_not() -> None:
    laptop = Machine(1, 2, 16.0, "cpu")
    assert fits(variant_named("nano"), load_train_config("nano"), laptop) is None
    sentence = fits(variant_named("tiny"), load_train_config("tiny"), laptop)
    assert sentence is not None
    assert "this machine has 16 GB; take a smaller variant or a larger machine." in sentence
    assert "run it with 1 process." in str(fits(variant_named("nano"), load_train_config("nano"), Machine(1, 2, 2.4, "cpu")))


def test_this_machine_has_the_memory_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    machine = this_machine(2)
    assert machine.kind == "cpu"
    assert machine.ranks == 2
    assert 0.5 < machine.memory_gb == host_memory_gb() < 1e5


def shapes_of(tokens: int, supervised: int, size_px: tuple[int, int] | None) -> list[SampleShape]:
    return [SampleShape((tokens,), (supervised,), (size_px,) if size_px else ())]


def test_a_workload_of_equal_samples_is_a_multiplication() -> None:
    tiny = variant_named("tiny")
    config = load_train_config("tiny", {"packs": {"tokens_per_pack": 2048, "views_per_pack": 12, "batch_size": 64}})
    work = drawn_workload(shapes_of(121, 50, (800, 400)), 1_000_000, tiny, config, "corner", "equal")
    sample_tokens = 3 * 259 + 2 + 121
    assert work.num_steps == 1_000_000 // 64
    assert work.tokens == pytest.approx(1_000_000 * sample_tokens)
    assert (work.real_views, work.skipped_views) == (3_000_000, 2_000_000)
    told = estimate(tiny, config, Machine(1, 8), work, 0.5, 1000.0)
    one = train_flops([sample_tokens], 50, 3, tiny)
    assert told.flops_per_step == pytest.approx(64 * one, rel=0.02)
    perfect = told.flops_per_step / 8 / (1000e12 * 0.5)
    assert told.seconds_per_step == pytest.approx(perfect / told.balance)
    assert 0.5 < told.balance <= 1
    assert told.hours == pytest.approx(told.seconds_per_step * work.num_steps / 3600)


def test_recomputed_activations_cost_time_and_are_no_flops() -> None:
    tiny, config = variant_named("tiny"), load_train_config("tiny")
    work = drawn_workload(assumed_shapes(Mixture()), 50_000, tiny, config, "corner", "assumed")
    plain, again = (
        estimate(tiny, configured("tiny", activation_checkpointing=on), Machine(), work, 0.4, 989.0) for on in (False, True)
    )
    assert plain.flops_per_step == again.flops_per_step
    assert 1.05 < again.seconds_per_step / plain.seconds_per_step < 4 / 3


def test_the_means_of_an_assumed_mixture_are_those_asked_for() -> None:
    shapes = assumed_shapes(Mixture(picture_share=0.6, text_tokens=300, supervised_share=0.25, aspect=1.8))
    assert sum(bool(shape.sizes_px) for shape in shapes) / len(shapes) == pytest.approx(0.6, abs=0.03)
    assert sum(shape.turn_ends[-1] for shape in shapes) / len(shapes) == pytest.approx(300, rel=0.05)
    supervised = sum(shape.turn_supervised[-1] for shape in shapes) / sum(shape.turn_ends[-1] for shape in shapes)
    assert supervised == pytest.approx(0.25, abs=0.01)
    aspects = [max(size) / min(size) for shape in shapes for size in shape.sizes_px]
    assert sum(aspects) / len(aspects) == pytest.approx(1.8, rel=0.06)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Raw files, the corpus made of them, and a base."""
    from tests.support.tiny import make_base, make_corpus

    folder = tmp_path_factory.mktemp("made")
    return folder, make_corpus(folder), make_base(folder / "base")


RECIPE = """
name: tiny
datasets:
  - {name: pictured, family: llava, root: raw/pictured, licence: CC-BY-4.0, held_out_share: 0.1}
  - {name: texts, family: text_dialogue, root: raw/texts, licence: MIT}
benchmarks:
  - {name: held, benchmark: pope, held_out_of: pictured}
"""


def test_a_look_at_the_raw_files_foretells_what_the_unified_corpus_then_is(made: tuple[Path, str, str]) -> None:
    folder, corpus_uri, base = made
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = load_recipe(str(folder / "recipe.yaml"))
    nano, config = variant_named("nano"), load_train_config("nano", {"epochs": 3, "packs": {"tokens_per_pack": 4096}})
    corpus = read_corpus_manifest(corpus_uri)
    exact = exact_workload(make_plan(corpus, corpus_lengths(corpus_uri, base, str(folder / "store")), nano, config), "exact")
    look = survey(recipe, open_pieces(base))
    assert not look.notes
    told = drawn_workload(look.shapes, look.num_samples, nano, config, recipe.padding, "look")
    assert told.samples == pytest.approx(exact.samples, rel=0.1)
    assert told.tokens == pytest.approx(exact.tokens, rel=0.15)
    assert told.real_views == pytest.approx(exact.real_views, rel=0.2)
    assert told.packs_per_step == exact.packs_per_step
    guess = survey(recipe, None)
    assert "tokens are guessed" in guess.notes[0]
    guessed = drawn_workload(guess.shapes, guess.num_samples, nano, config, recipe.padding, "guess")
    assert 0.3 < guessed.tokens / exact.tokens < 1.5  # these words are no English


def test_planning_a_cluster_imports_no_torch() -> None:
    program = "import sys, model.train.estimate, model.train.survey, model.train.workload; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
