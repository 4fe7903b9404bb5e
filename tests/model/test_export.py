"""The exported directory: loads with transformers alone, computes the same, is the same for the same weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model import storage
from model.build import build_model
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, ModelManifest
from model.errors import StorageError
from model.export import export_model
from model.sphinx_x.configuration_sphinx_x import SphinxXConfig
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.variants import variant_named
from model.weights import read_model_manifest
from tests.support.tiny import make_base

DESCRIBED = {
    "variant": "nano",
    "run_digest": "r",
    "corpus_digest": "c",
    "plan_digest": "p",
    "train_config": {},
    "steps": 1,
    "samples_seen": 2,
    "tokens_seen": 3,
    "train_seconds": 0.5,
    "licences": {"pictured": "CC-BY-4.0"},
}
ELSEWHERE = """
import json, sys
sys.path = [path for path in sys.path if path not in ("", REPOSITORY)]
import numpy, torch
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
try:
    import model
    raise SystemExit("the project is importable, so this shows nothing")
except ModuleNotFoundError:
    pass
folder, out = sys.argv[1:]
loaded, info = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), info
assert type(AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)).__name__ == type(loaded).__name__
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
image = Image.linear_gradient("L").resize((120, 40)).convert("RGB")
inputs = processor(images=[image, [image, image]], text=["what?", "which one is it?"])
with torch.no_grad():
    numpy.save(out, loaded.eval()(**inputs).logits.numpy())
print(json.dumps({
    "stop_ids": AutoConfig.from_pretrained(folder, trust_remote_code=True).stop_ids,
    "chat": loaded.chat(image, "what?", max_new_tokens=6),
    "generated": list(loaded.generate(**inputs, max_new_tokens=4).shape),
}))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base) -> SphinxXForConditionalGeneration:
    return build_model(variant_named("nano"), base, seed=3).eval()


def export(model: SphinxXForConditionalGeneration, base: str, out_uri: str, **arguments) -> ModelManifest:
    state = model.state_dict()
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in state.items()}
    assert isinstance(model.config, SphinxXConfig)
    return export_model(model.config, shapes, state.items(), base, out_uri, DESCRIBED, **arguments)


def load_elsewhere(folder: str, out: Path) -> dict:
    """What a process without the project makes of a directory; it leaves logits at `out`."""
    repository = str(Path(__file__).resolve().parents[2])
    program = ELSEWHERE.replace("REPOSITORY", repr(repository))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(out.parent), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, folder, str(out)],
        capture_output=True,
        text=True,
        cwd=out.parent,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_process_without_the_project_loads_every_key_and_computes_the_same(trained, base, tmp_path):
    export(trained, base, str(tmp_path / "out"))
    said = load_elsewhere(str(tmp_path / "out"), tmp_path / "logits.npy")
    from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor
    from model.sphinx_x.processing_sphinx_x import SphinxXProcessor
    from model.sphinx_x.tokenization_sphinx_x import SphinxXTokenizer

    assert isinstance(trained.config, SphinxXConfig)
    views = SphinxXImageProcessor(trained.config.grid, trained.config.conv_px, trained.config.vit_px, trained.config.padding)
    processor = SphinxXProcessor(views, SphinxXTokenizer(str(tmp_path / "out" / "tokenizer.model")))
    image = Image.linear_gradient("L").resize((120, 40)).convert("RGB")
    inputs = processor(images=[image, [image, image]], text=["what?", "which one is it?"])
    with torch.no_grad():
        expected = trained(**inputs).logits.numpy()
    assert np.array_equal(np.load(tmp_path / "logits.npy"), expected)
    assert said["stop_ids"] == processor.stop_ids() != []
    assert said["generated"][0] == 2
    assert isinstance(said["chat"], str)


def test_equal_weights_give_an_equal_digest_and_other_weights_another(trained, base, tmp_path):
    first = export(trained, base, str(tmp_path / "a"))
    assert export(trained, base, str(tmp_path / "b")).digest == first.digest
    other = build_model(variant_named("nano"), base, seed=4)
    assert export(other, base, str(tmp_path / "c")).digest != first.digest


def test_the_manifest_lists_every_file_as_it_is(trained, base, tmp_path):
    uri = str(tmp_path / "out")
    manifest = export(trained, base, uri)
    assert read_model_manifest(uri) == manifest
    names = {file.path for file in storage.list_files(uri)}
    assert {file.path for file in manifest.files} == names - {MODEL_MANIFEST_FILE}
    for file in manifest.files:
        assert (file.bytes, file.sha256) == (
            (tmp_path / "out" / file.path).stat().st_size,
            storage.sha256_of(tmp_path / "out" / file.path),
        )


def test_large_models_are_split_into_files_that_load_as_one(trained, base, tmp_path):
    limit = 400_000
    manifest = export(trained, base, str(tmp_path / "out"), max_file_bytes=limit)
    parts = [file for file in manifest.files if file.path.endswith(".safetensors")]
    largest = max(value.numel() * value.element_size() for value in trained.state_dict().values())
    assert len(parts) > 5
    assert all(file.bytes <= max(limit, largest) + 20_000 for file in parts)  # 20 kB: a header
    loaded = SphinxXForConditionalGeneration.from_pretrained(tmp_path / "out")
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_what_an_interrupted_export_left_is_not_among_the_files(trained, base, tmp_path):
    uri = str(tmp_path / "out")
    storage.write_text(storage.join(uri, "model-00009-of-00009.safetensors"), "half")
    export(trained, base, uri)
    assert not storage.exists(storage.join(uri, "model-00009-of-00009.safetensors"))


def test_a_base_without_a_tokenizer_leaves_no_manifest(trained, base, tmp_path):
    with pytest.raises(StorageError, match="tokenizer.model"):
        export(trained, str(tmp_path / "nothing"), str(tmp_path / "out"))
    assert not storage.exists(storage.join(str(tmp_path / "out"), MODEL_MANIFEST_FILE))
