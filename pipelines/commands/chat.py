"""`sphinx-x chat`: ask a model about pictures, once or in a conversation. Needs the extra `chat`; no kfp, no DeepSpeed.

Whose code runs: this project's own. A model's folder holds a copy of the code it was exported with, for people who do not have
the project; a folder from elsewhere could hold anything there. So `chat` reads weights (safetensors), configuration and tokenizer
from the folder and nothing else; `--trust` runs the folder's own code instead, as transformers' `trust_remote_code` does.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import ConfigError, SphinxError
from model.quantise import Quantise, quantisation

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console

HELP = """\
/image FILE ...   ask about other pictures from here on (forgets the conversation)
/forget           forget the conversation, keep the pictures
/help             this list
/quit             end (or Ctrl-D)"""


def chat(
    model: Annotated[str, typer.Argument(help="models:/<name>@<alias>, a folder, or the URI of an exported model.")],
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", help="A picture's path or URI; repeat it for several.", metavar="FILE")
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", "-q", help="Ask this, print the answer, end.", metavar="TEXT")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    quantise: Annotated[
        Quantise | None, typer.Option(help="Load the language model in fewer bits: less memory; needs the extra 'quantised'.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code in the model's folder instead of this program's own.")
    ] = False,
) -> None:
    """Ask a model about pictures; without a question, as a conversation.

    A registered model is copied to ~/.cache/sphinx-x at its first use. The answer alone goes to stdout.

    Examples:

        sphinx-x chat models:/sphinx-x-nano@champion --image scene.png --question "What colour is the circle?"

        sphinx-x chat ./sphinx-x-tiny-v7 --image left.jpg --image right.jpg --quantise 4bit
    """
    from rich.console import Console

    notes = Console(stderr=True)
    pictures = [read_picture(file) for file in image or ()]
    with loaded(model, trust, notes, quantise) as (asked, processor):
        talker = Talker(asked, processor, pictures, max_new_tokens)
        if question is None:
            converse(talker, image or [], Console())
            return
        for piece in talker.ask(question):
            print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
        print()


def read_picture(file: str) -> "Image":
    """A picture from a path or URI, upright.

    Raises:
        StorageError, ConfigError: it cannot be read; it is no picture.
    """
    from model import storage
    from model.sphinx_x.image_processing_sphinx_x import open_picture

    try:
        return open_picture(storage.read_bytes(file), upright=True)
    except ValueError as error:
        raise ConfigError(f"{file} is no picture to ask about: {error}; give another one.") from error


@contextmanager
def loaded(address: str, trust: bool, notes: "Console", quantise: Quantise | None = None) -> Iterator[tuple[Any, Any]]:
    """Model and processor, ready to answer; on a GPU where there is one."""
    from components.shared.registry import fetch_model
    from pipelines.commands.pull import copy_bar

    with copy_bar("copying the model") as progress:
        folder = fetch_model(address, progress)
    with ExitStack() as opened:
        with notes.status(f"loading {address}"):
            pair = _load_trusting(folder, quantise) if trust else _load_own(folder, opened, quantise)
        yield pair


def _load_own(folder: Path, opened: ExitStack, quantise: Quantise | None) -> tuple[Any, Any]:
    from model.evaluate.answering import open_answerer

    answerer = opened.enter_context(open_answerer(str(folder), quantise=quantise))
    return answerer.model, answerer.processor


def _load_trusting(folder: Path, quantise: Quantise | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    on_gpu = torch.cuda.is_available()
    options: dict[str, Any] = {"dtype": torch.bfloat16 if on_gpu else torch.float32, "trust_remote_code": True}
    if quantise:
        options["quantization_config"] = quantisation(quantise, folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **options).eval()
    if not quantise:  # those weights were put in their place when they were made
        model = model.to("cuda" if on_gpu else "cpu")
    return model, AutoProcessor.from_pretrained(folder, trust_remote_code=True)


class Talker:
    """A model with the pictures and the turns that its next answer follows."""

    def __init__(self, model: Any, processor: Any, pictures: "list[Image]", max_new_tokens: int):
        self.model, self.processor = model, processor
        self.pictures, self.max_new_tokens = pictures, max_new_tokens
        self.history: list[tuple[str, str]] = []

    def ask(self, question: str) -> Iterator[str]:
        """Pieces of the answer as they come; an answer that was heard to its end becomes part of the conversation."""
        # The chat module beside the model's class: this project's, or the folder's own under --trust.
        stream_chat = sys.modules[type(self.model).__module__].stream_chat
        pieces = []
        for piece in stream_chat(self.model, self.processor, question, self.pictures, self.history, self.max_new_tokens):
            pieces.append(piece)
            yield piece
        self.history.append((question, "".join(pieces).strip()))

    def look_at(self, pictures: "list[Image]") -> None:
        self.pictures, self.history = pictures, []


def converse(talker: Talker, files: list[str], console: "Console") -> None:
    """Read questions and commands until the end of input."""
    config, device = talker.model.config, talker.model.device
    about = ", ".join(files) or "no picture yet; /image FILE shows it one"
    console.print(
        f"[bold]SPHINX-X {config.variant}[/bold] on {device}, about {about}. /help lists the commands.", highlight=False
    )
    while True:
        try:
            line = console.input("[bold cyan]> [/bold cyan]").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return
        if command == "/image":
            _change_pictures(talker, rest, console)
        elif command == "/forget":
            talker.history.clear()
            console.print("[dim]forgotten[/dim]")
        elif command.startswith("/"):
            console.print(HELP, highlight=False, markup=False)
        elif line:
            _answer(talker, line, console)


def printable(text: str) -> str:
    """Without control characters: a model repeats what it reads in a picture, and a terminal would obey it."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _answer(talker: Talker, question: str, console: "Console") -> None:
    try:
        for piece in talker.ask(question):
            console.print(printable(piece), end="", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:  # enough of this answer; it is left out of the conversation
        console.print(" [dim](stopped)[/dim]", end="")
    console.print()


def _change_pictures(talker: Talker, files: str, console: "Console") -> None:
    try:
        named = shlex.split(files)
        talker.look_at([read_picture(file) for file in named])
        console.print(f"looking at {', '.join(named) or 'no picture'}", style="dim", markup=False, highlight=False)
    except (SphinxError, ValueError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
