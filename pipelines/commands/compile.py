"""`sphinx-x compile`: the pipeline as Kubeflow takes it."""

from pathlib import Path
from typing import Annotated

import typer


def compile_pipelines(
    output: Annotated[Path, typer.Option("--output", help="Folder to write to.")] = Path("compiled"),
) -> None:
    """Write the pipeline's YAML and the JSON schemas of recipes and training options.

    Upload the YAML to Kubeflow Pipelines; point your editor at the schemas.

    Examples:

        sphinx-x compile --output compiled
    """
    from model import storage
    from pipelines.compile import generated_files

    for path, text in generated_files().items():
        storage.write_text(str(output / path.name), text)
        typer.echo(str(output / path.name))
