"""`sphinx-x pull`: a registered model as a folder on this machine. Needs the extra `registry` alone; no torch is imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.shared.registry import Progress


def pull(
    model: Annotated[
        str, typer.Argument(help="models:/<name>@<alias>, models:/<name>/<version>, or models:/<name> for its champion.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Where to put it; by default <name>-v<version> in the working directory.")
    ] = None,
) -> None:
    """Copy a registered model into a folder that transformers and `sphinx-x chat` read.

    Every file is checked against the model's manifest. An interrupted copy goes on where it stopped; a whole one is recognised.

    Examples:

        sphinx-x pull models:/sphinx-x-nano@champion

        MLFLOW_TRACKING_URI=https://mlflow.example.org sphinx-x pull models:/sphinx-x-tiny/7 tiny
    """
    from rich.console import Console

    from components.shared import registry

    version = registry.resolve(model)
    target = folder or Path(f"{version.name}-v{version.version}")
    with copy_bar(f"{version.name} version {version.version}") as progress:
        manifest = registry.pull(version.uri, target, progress)
    Console().print(
        f"[bold]{target}[/bold] holds {version.uri}: {manifest.variant}, {len(manifest.files)} files, "
        f"{sum(file.bytes for file in manifest.files) / 1e6:.1f} MB, each checked.\n"
        f'Ask it:  sphinx-x chat {target} --image photo.jpg --question "What is in the picture?"',
        highlight=False,
        soft_wrap=True,
    )


class copy_bar:
    """A bar on stderr over the bytes of a copy; yields the callback that `components.shared.registry` calls."""

    def __init__(self, what: str):
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
        )
        console = Console(stderr=True)
        self._bar = progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> "Progress":
        return self._show

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def _show(self, path: str, done: int, total: int) -> None:
        self._bar.start()  # at the first file: where there is nothing to copy, there is nothing to see
        self._bar.update(self._task, completed=done, total=total)
