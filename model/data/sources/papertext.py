"""papertext: pages of PDFs with a text layer, rendered, as questions about their text (the paper's PaperText).

    <root>/**/*.pdf        any folder structure; one level of names is enough

The pages are rendered by PyMuPDF in a process of its own (`model/data/render_pdf.py`, extra `papertext`, AGPL-3.0), with
limits on time, memory, pages and pixels. The paper gives neither resolution nor granularity nor wording: 100 dpi,
paragraphs and `Read the text in the region [x1,y1,x2,y2] of the image.` are our choices.

A PDF is held out as a whole: its pages share text.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from model import storage
from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.bands import Line
from model.data.boxes import BoxFault, box_numbers, parse_boxes
from model.data.holdout import picture_key
from model.data.page_text import Dropped, Paragraph, paragraphs_of
from model.data.parallel import ordered_map
from model.data.prompts import READ_PAGE, READ_REGION, SPOTTING, spotting_answer
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, numbered, options_of, split_turns
from model.errors import DataError

RENDERER = Path(__file__).resolve().parents[1] / "render_pdf.py"
MAX_PDF_BYTES = 256 << 20
_NUM_RENDERERS = 2
_EXIT_REASONS = {3: "", 4: "PDF unreadable", 5: "PDF needs a password"}


class PapertextOptions(Part):
    """Settings of the reader."""

    form: Literal["regions", "page", "spotting"] = "regions"
    """regions: read each paragraph, given its box; page: read the whole page; spotting: all paragraphs with their boxes."""
    dpi: int = Field(default=100, ge=36, le=400)
    """Resolution of the pages."""
    max_pages: int = Field(default=50, ge=1, le=9999)
    """Most pages of one PDF, the first ones."""
    max_pixels: int = Field(default=20_000_000, ge=10_000, le=80_000_000)
    """Larger pages are left out."""
    min_chars: int = Field(default=8, ge=1)
    """Shorter paragraphs are left out."""
    min_page_chars: int = Field(default=200, ge=0)
    """Pages with less text are left out."""
    max_turns: int = Field(default=8, ge=0)
    """Most paragraphs of one sample, a page with more gives several (form regions); 0 for no limit."""
    max_chars: int = Field(default=2400, ge=0)
    """Most characters of one sample, a page with more gives several (form regions); 0 for no limit."""
    render_timeout_s: int = Field(default=120, ge=1)
    """Seconds for one PDF."""
    render_memory_bytes: int = Field(default=4 << 30, ge=256 << 20)
    """Memory for one PDF."""


@dataclass(frozen=True)
class _Page:
    number: int
    picture: bytes
    size_px: tuple[int, int]
    pieces: tuple[Paragraph | Dropped, ...]


@dataclass(frozen=True)
class _Rendered:
    name: str
    pages: tuple[_Page, ...] = ()
    rejects: tuple[Reject, ...] = ()


def _inputs(spec: DatasetSpec) -> RawInputs:
    files = [file.path for file in storage.list_files(spec.root) if file.path.lower().endswith(".pdf")]
    if not files:
        raise DataError(f"there is no .pdf below {spec.root}; check root.")
    return RawInputs(tuple(storage.join(spec.root, file) for file in files))


def _tool_version() -> str:
    if importlib.util.find_spec("pymupdf") is None:
        raise DataError(
            "papertext renders PDFs with PyMuPDF (AGPL-3.0), which is not installed; run: pip install 'sphinx-x[papertext]'"
        )
    return f"pymupdf {importlib.metadata.version('pymupdf')}"


def _read(spec: DatasetSpec, _seed: int, padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, PapertextOptions)
    _tool_version()
    root = spec.root.rstrip("/") + "/"

    def render(uri: str) -> _Rendered:
        return _render(uri, uri.removeprefix(root)[:-4], options)

    # A rendered PDF waits in memory with all its pages: never many ahead.
    for rendered in ordered_map(render, _inputs(spec).annotations, _NUM_RENDERERS, _NUM_RENDERERS):
        yield from rendered.rejects
        for page in rendered.pages:
            yield from _page_samples(rendered.name, page, options, padding)


def _render(uri: str, name: str, options: PapertextOptions) -> _Rendered:
    """Run the renderer on one PDF and read what it wrote."""
    with tempfile.TemporaryDirectory(prefix="sphinx-x-pdf-") as folder:
        pdf, out = Path(folder) / "in.pdf", Path(folder) / "out"
        storage.download_file(uri, pdf)
        if pdf.stat().st_size > MAX_PDF_BYTES:
            return _failed(name, "PDF too large", f"{pdf.stat().st_size} bytes, at most {MAX_PDF_BYTES} are read")
        out.mkdir()
        command = [sys.executable, "-I", str(RENDERER), str(pdf), str(out), "--dpi", str(options.dpi)]
        command += ["--max-pages", str(options.max_pages), "--max-pixels", str(options.max_pixels)]
        command += ["--cpu-s", str(options.render_timeout_s), "--memory-bytes", str(options.render_memory_bytes)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=options.render_timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return _failed(name, "PDF takes too long", f"over {options.render_timeout_s} s (render_timeout_s)")
        said = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:160]
        if done.returncode == 3:
            raise DataError(f"papertext cannot render: {said}; run: pip install 'sphinx-x[papertext]'")
        if done.returncode != 0:
            return _failed(
                name, _EXIT_REASONS.get(done.returncode, "PDF breaks the renderer"), said or f"exit {done.returncode}"
            )
        return _collect(name, out, options)


def _collect(name: str, out: Path, options: PapertextOptions) -> _Rendered:
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    rejects = [
        Reject(id=f"{name}.p{skipped['page']:04d}", reason="page cannot be rendered", detail=skipped["reason"])
        for skipped in summary["skipped"]
    ]
    if summary["pages"] > options.max_pages:
        detail = f"{summary['pages']} pages, the first {options.max_pages} are read (max_pages)"
        rejects.append(Reject(id=name, reason="pages beyond the limit", detail=detail, kind="rule"))
    pages = []
    for number in summary["written"]:
        text = json.loads((out / f"{number:04d}.json").read_text(encoding="utf-8"))
        pieces = tuple(paragraphs_of(text["blocks"], options.min_chars))
        picture = (out / f"{number:04d}.png").read_bytes()
        pages.append(_Page(number, picture, (text["width_px"], text["height_px"]), pieces))
    return _Rendered(name, tuple(pages), tuple(rejects))


def _failed(name: str, reason: str, detail: str) -> _Rendered:
    return _Rendered(name, rejects=(Reject(id=name, reason=reason, detail=detail),))


def _page_samples(name: str, page: _Page, options: PapertextOptions, padding: str) -> Iterator[RawSample | Reject]:
    page_id = f"{name}.p{page.number:04d}"
    left_out: list[Reject] = []
    lines: list[Line] = []
    for piece in page.pieces:
        if isinstance(piece, Dropped):
            left_out.append(Reject(id=page_id, reason=piece.reason, detail=piece.detail, kind="rule"))
            continue
        try:
            numbers = box_numbers(piece.box_px, *page.size_px, padding, widen_small=True)
        except BoxFault as fault:
            left_out.append(Reject(id=page_id, reason=fault.reason, detail=fault.detail, kind="rule"))
            continue
        lines.append(Line(piece.text, numbers, parse_boxes(f"[{numbers}]")[0]))
    num_chars = sum(len(line.text) for line in lines)
    if not lines or num_chars < options.min_page_chars:
        yield from left_out
        detail = f"{num_chars} characters, at least {options.min_page_chars} are wanted (min_page_chars)"
        yield Reject(id=page_id, reason="page with little text", detail=detail, kind="rule")
        return
    shown = RawPicture(key=picture_key(f"{name}.pdf"), data=page.picture, annotated_px=page.size_px)
    for sample_id, turns, weight in numbered(page_id, _turns(lines, options)):
        yield RawSample(sample_id, "reading", (shown,), turns, weight, tuple(left_out))
        left_out = []


def _turns(lines: list[Line], options: PapertextOptions) -> Iterator[tuple[tuple[Turn, ...], int]]:
    """The dialogues about a page and how many paragraphs each holds."""
    if options.form == "page":
        yield (Turn(question=READ_PAGE, answer="\n".join(line.text for line in lines)),), len(lines)
    elif options.form == "spotting":
        answer = spotting_answer([(line.text, line.numbers) for line in lines])
        yield (Turn(question=SPOTTING, answer=answer),), len(lines)
    else:
        turns = [Turn(question=READ_REGION.format(f"[{line.numbers}]"), answer=line.text) for line in lines]
        for part, _ in split_turns([(turn, len(turn.answer)) for turn in turns], options.max_turns, options.max_chars):
            yield part, len(part)


SOURCE = Source(
    name="papertext",
    summary="PDFs with a text layer, rendered page by page (needs the extra papertext, AGPL-3.0)",
    version=1,
    options=PapertextOptions,
    inputs=_inputs,
    read=_read,
    tool_version=_tool_version,
)
