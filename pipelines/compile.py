"""Write what is generated and committed: the compiled pipelines and the JSON schemas of the YAML files that people write.

python -m pipelines.compile            rewrite pipelines/compiled/ and pipelines/schemas/
python -m pipelines.compile --check    fail in one sentence where they are out of date
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from model.contracts.family import FamilyFile
from model.contracts.recipe import Recipe
from model.errors import ConfigError, SphinxError
from model.train.config import TrainConfig

HERE = Path(__file__).parent
COMPILED, SCHEMAS = HERE / "compiled", HERE / "schemas"


def generated_files() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    from pipelines import family, train

    return {
        COMPILED / f"{train.NAME}.yaml": compiled_yaml(train.train_pipeline, train.CHOICES),
        COMPILED / f"{family.NAME}.yaml": compiled_yaml(family.family_pipeline, family.CHOICES),
        SCHEMAS / "recipe.schema.json": _schema(Recipe),
        SCHEMAS / "family.schema.json": _schema(FamilyFile),
        SCHEMAS / "train-config.schema.json": _schema(TrainConfig),
    }


def compiled_yaml(pipeline: Any, choices: dict[str, tuple[str, ...]]) -> str:
    """The pipeline's intermediate representation, with `literals` for closed choices.

    The SDK cannot write literals yet; Kubeflow Pipelines 2.16 and later read them, offer a dropdown and refuse other values.

    Raises:
        ConfigError: a choice names no parameter, or its default is none of its values (Kubeflow would accept that).
    """
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        text = path.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    documents = list(yaml.safe_load_all(text))
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    for name, values in choices.items():
        if name not in parameters:
            raise ConfigError(f"there is no pipeline parameter {name} to give choices to; correct CHOICES.")
        if (default := parameters[name].get("defaultValue")) not in (None, *values):
            raise ConfigError(f"the default {default!r} of {name} is none of its choices {', '.join(values)}; correct it.")
        parameters[name]["literals"] = list(values)
    return head + yaml.dump_all(documents, Dumper=QuotingDumper, sort_keys=True, width=120, allow_unicode=True)


def out_of_date() -> list[Path]:
    """Generated files that are missing or differ from what the code says, and files nobody generates any more."""
    wanted = generated_files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return stale + sorted(path for folder in (COMPILED, SCHEMAS) for path in folder.glob("*.*") if path not in wanted)


def write() -> list[Path]:
    """Rewrite the generated files; returns those that changed."""
    changed = out_of_date()
    for path, text in generated_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in changed:
        if path not in generated_files():
            path.unlink()
    return changed


class QuotingDumper(yaml.SafeDumper):
    """Quotes every text that some YAML reader takes for a number: Go reads an unquoted 1e-4 as one, PyYAML does not."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if _looks_like_a_number(text) else None)


QuotingDumper.add_representer(str, _text)


def _looks_like_a_number(text: str) -> bool:
    try:
        float(text.replace("_", ""))
    except ValueError:
        return text[:2].lower() in ("0x", "0o", "0b")
    return True


def _schema(kind: Any) -> str:
    return json.dumps(TypeAdapter(kind).json_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where files are out of date")
    check = parser.parse_args().check
    try:
        if not check:
            for path in write():
                print(f"wrote {path.relative_to(HERE.parent)}")
        elif stale := out_of_date():
            names = ", ".join(str(path.relative_to(HERE.parent)) for path in stale)
            raise ConfigError(f"{names} out of date; run: make golden, and commit the result.")
    except SphinxError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
