"""House rules as tests: who may import whom, what runs without torch, how large a file may be, what an install brings."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("model", "components", "pipelines")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60

STANDARD = set(sys.stdlib_module_names)
TRAVELS = {"torch", "transformers", "timm", "PIL", "numpy", "sentencepiece"}
"""What an exported model's own code may import, besides the standard library and its neighbours."""

TORCH_FREE = (
    "model.contracts.recipe", "model.contracts.evaluation", "model.contracts.corpus", "model.contracts.checkpoint", "model.contracts.release",
    "model.errors", "model.storage", "model.weights", "model.variants", "model.recipes", "model.families", "model.card",
    "model.data.sources", "model.data.unify", "model.data.lengths", "model.data.plan", "model.data.deal", "model.data.flops",
    "model.evaluate.scores", "model.evaluate.statistics", "model.evaluate.gate", "model.evaluate.report", "model.evaluate.benchmarks",
    "model.evaluate.runner", "model.sphinx_x.views", "model.sphinx_x.dialogue", "model.sphinx_x.pieces",
    "model.train.config", "model.train.spec", "model.train.estimate",
    "components.validate.logic", "components.validate.family_logic", "components.compare.logic", "components.unify.logic", "components.merge.logic", "components.prepare.logic", "components.train.logic", "components.evaluate.logic",
    "components.report.logic", "components.register.logic", "components.promote.logic", "components.finish.logic",
    "pipelines.cli", "pipelines.local", "pipelines.runs",
)  # fmt: skip


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def all_sources() -> list[Path]:
    return [path for room in ROOMS for path in sources(room)]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, anywhere in it; relative ones resolved."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def offenders(paths: list[Path], forbidden) -> list[str]:
    return [f"{name_of(path)} imports {name}" for path in paths for name in imports_of(path) if forbidden(name)]


def within(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def test_model_knows_nothing_of_the_platform():
    platform = ("kfp", "mlflow", "kubernetes", "components", "pipelines", "typer", "rich")
    assert offenders(sources("model"), lambda name: within(name, *platform)) == []


def test_contracts_need_the_standard_library_and_pydantic_alone():
    def foreign(name: str) -> bool:
        return name.split(".")[0] not in STANDARD | {"pydantic"} and not within(name, "model.contracts", "model.errors")

    assert offenders(sources("model/contracts"), foreign) == []


def test_what_travels_with_the_weights_imports_its_neighbours_and_published_packages_only():
    for path in sources("model/sphinx_x"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] in STANDARD | TRAVELS for alias in node.names), name_of(path)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").split(".")[0] in STANDARD | TRAVELS, f"{name_of(path)}: {node.module}"
            elif isinstance(node, ast.ImportFrom):
                # transformers follows `from .x import y` in a flat folder, and nothing else.
                assert node.level == 1, name_of(path)
                assert node.module, name_of(path)
                assert "." not in node.module, name_of(path)


def test_a_component_imports_model_and_what_components_share_but_no_other_component():
    wrong = []
    for path in sources("components"):
        own = ".".join(name_of(path).split(".")[:2])
        allowed = (own, "components.shared", "components.images")
        wrong += [
            f"{name_of(path)} imports {name}"
            for name in imports_of(path)
            if within(name, "pipelines") or (within(name, "components") and name != "components" and not within(name, *allowed))
        ]
    assert wrong == []


def test_nobody_imports_pipelines():
    assert offenders([*sources("model"), *sources("components")], lambda name: within(name, "pipelines")) == []


def test_only_the_face_of_a_component_knows_kubeflow():
    faces = [path for path in sources("components") if path.name == "component.py" or path.name.endswith("_component.py")]
    rest = [path for path in sources("components") if path not in faces]
    assert offenders(rest, lambda name: within(name, "kfp")) == []
    # A face imports its logic inside the body, so that compiling needs kfp alone.
    for path in faces:
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in top}
        assert names <= {"kfp", "typing", "components"}, name_of(path)


def test_every_component_has_a_face_a_logic_and_a_page():
    folders = {path.parent for path in sources("components") if path.name == "component.py"}
    assert {folder.name for folder in folders} == {
        "validate", "unify", "merge", "prepare", "train", "evaluate", "report", "register", "promote", "compare", "finish",
    }  # fmt: skip
    for folder in folders:
        assert (folder / "logic.py").is_file(), folder.name
        assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n"), folder.name


@pytest.mark.parametrize("blocked", ["torch"])
def test_what_a_small_image_runs_does_not_import_torch(blocked):
    code = (
        "import sys, importlib\n"
        f"sys.modules[{blocked!r}] = None\n"
        f"for name in {TORCH_FREE!r}: importlib.import_module(name)\n"
        f"assert 'kfp' not in sys.modules and 'mlflow' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-800:]


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in all_sources()])
def test_files_are_short_and_open_with_what_they_are_for(path):
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= MAX_FILE_LINES, f"{lines} lines"
    if not text.strip():
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            length = (node.end_lineno or 0) - (start or 0)
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines without its docstring"


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_our_names(room):
    owners = set(importlib.metadata.packages_distributions().get(room, ())) - {"sphinx-x"}
    assert owners == set()


def _installs(extra: str) -> set[str]:
    """Names of all packages that an extra brings, our own extras followed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, names, waiting = project["optional-dependencies"], set(), [extra]
    wanted = list(project["dependencies"])
    while waiting:
        for requirement in extras[waiting.pop()]:
            if requirement.startswith("sphinx-x["):
                waiting += requirement.removeprefix("sphinx-x[").rstrip("]").split(",")
            else:
                wanted.append(requirement)
    for requirement in wanted:
        names.add(requirement.split("[")[0].split(">")[0].split("=")[0].strip().lower())
    return names


def test_chatting_and_pulling_bring_no_trainer_and_no_pipelines():
    assert not _installs("chat") & {"deepspeed", "kfp", "kubernetes", "mlflow", "ninja", "pymupdf"}
    assert not _installs("registry") & {"torch", "deepspeed", "kfp", "mlflow", "transformers"}


def test_the_agpl_package_stays_in_its_own_extra_and_its_own_process():
    users = [name_of(path) for path in all_sources() if any(within(name, "pymupdf", "fitz") for name in imports_of(path))]
    assert users == ["model.data.render_pdf"]
    assert offenders(all_sources(), lambda name: within(name, "model.data.render_pdf")) == []


def test_every_floor_is_written_down():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert [one for one in requirements if not any(sign in one for sign in (">=", "==", "sphinx-x["))] == []
