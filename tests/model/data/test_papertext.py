"""PaperText: a PDF's pages through the renderer's own process, and the cleaning of their text."""

import subprocess
import sys

import pytest

from model.contracts.corpus import Reject
from model.data.page_text import Dropped, Paragraph, clean_line, paragraphs_of
from model.data.sources import SOURCES
from tests.support.raw_layouts import put, spec
from tests.support.real_data import REPOSITORY, real_data


def line(text, y_px=0.0, level=True):
    return {"text": text, "box": [10.0, y_px, 200.0, y_px + 12.0], "level": level}


def small_pdf(*pages: str) -> bytes:
    """A PDF written by hand, a page for each text, one line each."""
    bodies = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    bodies.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    kids = []
    for text in pages:
        stream = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET"
        bodies.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        content = len(bodies)
        bodies.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {content} 0 R >>"
        )
        kids.append(f"{len(bodies)} 0 R")
    bodies[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode()
    out += "".join(f"{offset:010d} 00000 n \n" for offset in offsets).encode()
    return out + f"trailer << /Size {len(bodies) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def read(root, **options):
    found = list(SOURCES["papertext"].read(spec(root, "papertext", options=options), 0, "corner"))
    return [one for one in found if not isinstance(one, Reject)], [one for one in found if isinstance(one, Reject)]


def test_lines_become_paragraphs_and_hyphenated_words_whole():
    block = [line("higher compared to pre-"), line("viously reported  results", 14)]
    assert list(paragraphs_of([block], 5)) == [
        Paragraph("higher compared to previously reported results", (10.0, 0.0, 200.0, 26.0), 12.0)
    ]


def test_a_paragraph_split_into_blocks_is_merged_and_a_new_sentence_is_not():
    merged = list(paragraphs_of([[line("the cell is")], [line("stained blue.", 14)], [line("Another begins.", 28)]], 5))
    assert [paragraph.text for paragraph in merged if isinstance(paragraph, Paragraph)] == [
        "the cell is stained blue.",
        "Another begins.",
    ]


def test_unreadable_turned_and_short_text_is_dropped_with_its_reason():
    blocks = [[line("\ue000\ue001 formula")], [line("arXiv:2402", level=False)], [line("7")], [line("a fine paragraph")]]
    pieces = list(paragraphs_of(blocks, 8))
    assert sorted(piece.reason for piece in pieces if isinstance(piece, Dropped)) == [
        "text not level",
        "text short",
        "text with unreadable characters",
    ]


def test_ligatures_come_apart_and_powers_stay():
    assert clean_line("eﬃcient  ﬁlters, x² \u200bm") == "efficient filters, x² m"


def test_pages_are_rendered_with_their_text_as_questions(tmp_path):
    put(tmp_path / "a/one.pdf", small_pdf("The first page says something.", "The second page says more."))
    samples, rejects = read(tmp_path, min_page_chars=10)
    assert [sample.id for sample in samples] == ["a/one.p0000", "a/one.p0001"]
    assert samples[1].turns[0].answer == "The second page says more."
    assert samples[0].turns[0].question.startswith("Read the text in the region [0.06,0.10,0.")
    assert samples[0].pictures[0].data.startswith(b"\x89PNG")
    assert samples[0].pictures[0].annotated_px == (850, 1100)
    assert {sample.pictures[0].key for sample in samples} == {"one"}
    assert not rejects


@pytest.mark.parametrize(("form", "begins"), [("page", "Read all text"), ("spotting", "Detect all regions")])
def test_other_forms_ask_about_the_whole_page(form, begins, tmp_path):
    put(tmp_path / "one.pdf", small_pdf("The first page says something."))
    samples, _ = read(tmp_path, min_page_chars=10, form=form)
    assert samples[0].turns[0].question.startswith(begins)


def test_what_cannot_be_rendered_is_rejected_with_its_reason(tmp_path):
    put(tmp_path / "broken.pdf", b"%PDF-1.4\nnothing here")
    put(tmp_path / "empty.pdf", b"")
    put(tmp_path / "large.pdf", small_pdf("Text on a page.").replace(b"[0 0 612 792]", b"[0 0 90000 90000]"))
    put(tmp_path / "long.pdf", small_pdf(*["A page with some text."] * 4))
    samples, rejects = read(tmp_path, min_page_chars=10, max_pages=2)
    assert [sample.id for sample in samples] == ["long.p0000", "long.p0001"]
    reasons = {reject.id: (reject.reason, reject.kind) for reject in rejects}
    assert reasons["empty"] == ("PDF unreadable", "sample")
    assert reasons["broken"][1] == "sample"
    assert reasons["large.p0000"] == ("page cannot be rendered", "sample")
    assert reasons["long"] == ("pages beyond the limit", "rule")


def test_a_pdf_that_takes_too_long_is_rejected_and_its_process_ended(tmp_path, monkeypatch):
    slow = put(tmp_path / "slow.py", "import time; time.sleep(60)")
    monkeypatch.setattr("model.data.sources.papertext.RENDERER", slow)
    put(tmp_path / "pdf/one.pdf", small_pdf("Text."))
    _, rejects = read(tmp_path / "pdf", render_timeout_s=1)
    assert [(reject.id, reject.reason) for reject in rejects] == [("one", "PDF takes too long")]


def test_the_project_never_imports_the_renderer_s_library():
    code = "import sys, model.data.unify; assert not {'pymupdf', 'fitz'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=60)


def test_a_real_paper_gives_readable_paragraphs():
    samples, rejects = read(real_data() / "papers", max_pages=3)
    text = " ".join(turn.answer for sample in samples for turn in sample.turns)
    assert "Scientific literature contain important information" in text
    assert len(text) > 4000
    assert [reject.kind for reject in rejects] == ["rule"]
