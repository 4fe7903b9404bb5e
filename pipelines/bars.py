"""A bar for work that the command line does itself, before the DAG starts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Told = Callable[[int, int, str], None]
"""Called with what is done, how much there is in all, and what it is."""


@contextmanager
def bar(console: Console, what: str) -> Iterator[Told]:
    """A bar that appears with the first call and stays; where work was done before, nothing is drawn.

    Args:
        console: Where to draw; one that is no terminal gets a line a stage.
        what: What is made.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    stage = ""

    def tell(done: int, total: int, text: str) -> None:
        nonlocal stage
        if not progress.tasks:
            progress.start()
            progress.add_task(what)
        progress.update(progress.tasks[0].id, completed=done, total=total, description=f"{what}: {text}")
        # Losses and the like change with every call; the words before the first number name the stage.
        name = text.split(" ")[0]
        if not console.is_terminal and name != stage:
            stage = name
            console.print(f"{what}: {text}", highlight=False)

    try:
        yield tell
    finally:
        progress.stop()
