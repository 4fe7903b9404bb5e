"""Render the pages of one PDF and write out their text with boxes. A program of its own, run by `sources/papertext.py`.

PyMuPDF is AGPL-3.0: this file alone imports it, in its own process, and this file imports nothing of the project. The
process limits itself in memory and processor time, because a PDF from the web can ask for any amount of either.

    python render_pdf.py PAPER.pdf OUT --dpi 100 --max-pages 50 --max-pixels 20000000 --cpu-s 120 --memory-bytes 4294967296

writes OUT/0000.png, OUT/0000.json, ... and OUT/summary.json last. A page's JSON is
{"width_px", "height_px", "blocks": [[{"text", "box": [x1, y1, x2, y2] in pixels, "level": true if it runs left to right}]]}.
Exit codes: 0 done, 3 no PyMuPDF, 4 no readable PDF, 5 it needs a password.
"""

import argparse
import json
import math
import resource
import sys
from pathlib import Path


def main() -> int:
    arguments = _parse()
    resource.setrlimit(resource.RLIMIT_CPU, (arguments.cpu_s, arguments.cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_AS, (arguments.memory_bytes, arguments.memory_bytes))
    try:
        import pymupdf
    except ImportError as error:
        print(f"PyMuPDF cannot be imported: {error}", file=sys.stderr)
        return 3
    pymupdf.TOOLS.mupdf_display_errors(False)
    try:
        document = pymupdf.open(arguments.pdf, filetype="pdf")
    except Exception as error:  # MuPDF raises several types
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 4
    if document.needs_pass:
        print("it needs a password", file=sys.stderr)
        return 5
    skipped: list[dict] = []
    written: list[int] = []
    for number in range(min(document.page_count, arguments.max_pages)):
        try:
            reason = _render(pymupdf, document[number], number, arguments)
        except Exception as error:  # one damaged page must not lose the others
            reason = f"{type(error).__name__}: {str(error)[:120]}"
        if reason:
            skipped.append({"page": number, "reason": reason})
        else:
            written.append(number)
    summary = {"pages": document.page_count, "written": written, "skipped": skipped}
    (arguments.out / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return 0


def _render(pymupdf, page, number: int, arguments: argparse.Namespace) -> str:
    """Write a page's picture and text; returns why it could not be done, or an empty text."""
    scale = arguments.dpi / 72
    width, height = page.rect.width * scale, page.rect.height * scale
    if not (math.isfinite(width) and math.isfinite(height)) or width < 8 or height < 8:
        return f"page of {width:.0f} x {height:.0f} pixels"
    if width * height > arguments.max_pixels:
        return f"page of {width:.0f} x {height:.0f} pixels, at most {arguments.max_pixels} are rendered"
    picture = page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csRGB, alpha=False)
    to_pixels = page.rotation_matrix * pymupdf.Matrix(scale, scale)
    flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP
    blocks = []
    for block in page.get_text("dict", flags=flags)["blocks"]:
        lines = []
        for line in block.get("lines", ()):
            box = pymupdf.Rect(line["bbox"]) * to_pixels
            along = pymupdf.Point(line["dir"]) * pymupdf.Matrix(page.rotation)
            text = "".join(span["text"] for span in line["spans"])
            lines.append({"text": text, "box": [box.x0, box.y0, box.x1, box.y1], "level": bool(along.x > 0.99)})
        if lines:
            blocks.append(lines)
    picture.save(str(arguments.out / f"{number:04d}.png"))
    text = json.dumps({"width_px": picture.width, "height_px": picture.height, "blocks": blocks})
    (arguments.out / f"{number:04d}.json").write_text(text, encoding="utf-8")
    return ""


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render a PDF's pages with their text")
    parser.add_argument("pdf")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dpi", type=int, required=True)
    parser.add_argument("--max-pages", type=int, required=True)
    parser.add_argument("--max-pixels", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
