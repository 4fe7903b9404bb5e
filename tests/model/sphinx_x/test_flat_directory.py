"""The files of `model/sphinx_x` are a model by themselves: copied flat beside weights, they load where this project is not."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.build import build_model
from model.contracts.checkpoint import BaseModel
from model.export import CODE, export_model
from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor
from model.sphinx_x.processing_sphinx_x import SphinxXProcessor
from model.sphinx_x.tokenization_sphinx_x import SphinxXTokenizer
from model.weights import BASE_FILE, TOKENIZER_FILE
from tests.model.sphinx_x.tiny_models import tiny_variant
from tests.model.sphinx_x.tiny_tokenizers import tokenizer_file

ALLOWED = {"torch", "transformers", "timm", "PIL", "numpy", "sentencepiece"}
TORCH_FREE = {"views.py", "dialogue.py", "pieces.py"}
QUESTIONS = ["Which colour is it?", "Where is it?"]

PROGRAM = """
import json, sys
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
folder, picture, questions = sys.argv[1], Image.open(sys.argv[2]), json.loads(sys.argv[3])
assert not any(name.split(".")[0] in ("model", "components", "pipelines") for name in sys.modules)
try:
    import model
    raise SystemExit("this project can be imported here")
except ImportError:
    pass
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
other = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16)
batch = processor([[picture], []], questions)
answers = processor.batch_decode(model.generate(**batch, max_new_tokens=10))
out = {
    "variant": config.variant,
    "logits": model(**batch).logits[:, -1].tolist(),
    "half": other(**batch).logits[:, -1].float().tolist(),
    "half_type": str(other.dtype),
    "answers": answers,
    "chat": model.chat(picture, questions[0], max_new_tokens=10),
}
print("RESULT" + json.dumps(out))
"""


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import of a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
    return found


@pytest.mark.parametrize("path", sorted(CODE.glob("*.py")), ids=lambda path: path.name)
def test_files_import_their_neighbours_and_published_packages_only(path: Path) -> None:
    neighbours = {file.stem for file in CODE.glob("*.py")}
    for level, module in imports(path):
        top = module.split(".")[0]
        if level:
            assert level == 1, f"{path.name} leaves its folder"
            assert module in neighbours, f"{path.name} imports .{module}"
            assert path.name not in TORCH_FREE or f"{module}.py" in TORCH_FREE
        else:
            assert top in ALLOWED or top in sys.stdlib_module_names, f"{path.name} imports {module}"
            assert path.name not in TORCH_FREE or top not in ALLOWED - {"sentencepiece"}
    assert not [entry for entry in CODE.iterdir() if entry.is_dir() and entry.name != "__pycache__"]


@pytest.mark.timeout(240)
def test_an_exported_directory_loads_with_transformers_alone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / TOKENIZER_FILE).write_bytes(Path(tokenizer_file("dummy prefix")).read_bytes())
    about = BaseModel(name="tiny", uri=str(base), digest="0" * 64, licence="Apache-2.0")
    (base / BASE_FILE).write_text(about.model_dump_json())
    model = build_model(tiny_variant("llama", vocab=420), None, seed=3).eval()
    state = model.state_dict()
    described = {
        "variant": "nano", "run_digest": "1" * 64, "corpus_digest": "2" * 64, "plan_digest": "3" * 64, "train_config": {},
        "steps": 1, "samples_seen": 1, "tokens_seen": 1, "train_seconds": 1.0, "licences": {},
    }  # fmt: skip
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in state.items()}
    export_model(model.config, shapes, state.items(), str(base), str(tmp_path / "model"), described)

    picture = Image.new("RGB", (80, 40), (30, 90, 200))
    picture.save(tmp_path / "picture.png")
    # Without site (-S) the link from the environment to this checkout is not followed, and the published packages are.
    environment = {"PYTHONPATH": sysconfig.get_paths()["purelib"], "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    away = tmp_path / "elsewhere"
    away.mkdir()
    command = [
        sys.executable,
        "-S",
        "-c",
        PROGRAM,
        str(tmp_path / "model"),
        str(tmp_path / "picture.png"),
        json.dumps(QUESTIONS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd=away)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.split("RESULT")[1])

    processor = SphinxXProcessor(SphinxXImageProcessor(2, 64, 28), SphinxXTokenizer(tokenizer_file("dummy prefix")))
    batch = processor([[picture], []], QUESTIONS)
    with torch.no_grad():
        logits = model(**batch).logits[:, -1]
    torch.testing.assert_close(torch.tensor(found["logits"]), logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.tensor(found["half"]), logits, rtol=0.1, atol=0.1)
    answers = processor.batch_decode(model.generate(**batch, max_new_tokens=10, stop_ids=processor.stop_ids()))
    assert found["answers"] == answers
    assert found["chat"] == answers[0]
    assert found["half_type"] == "torch.bfloat16"
    assert found["variant"] == "nano"
