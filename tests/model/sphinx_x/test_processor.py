"""Pictures and questions to tensors and back to text; a chat is the same prompt, streamed."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from model.sphinx_x.chat import stream_chat
from model.sphinx_x.dialogue import encode_prompt
from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.sphinx_x.processing_sphinx_x import SphinxXProcessor, view_tensors
from model.sphinx_x.tokenization_sphinx_x import SphinxXTokenizer
from model.sphinx_x.views import SKIP_ID, VIEW_ID
from tests.model.sphinx_x.tiny_models import tiny_model
from tests.model.sphinx_x.tiny_tokenizers import KINDS, tokenizer_file

SQUARE, WIDE = Image.new("RGB", (90, 80), (200, 10, 10)), Image.new("RGB", (90, 40), (10, 10, 200))


def processor_of(kind: str = "dummy prefix") -> SphinxXProcessor:
    return SphinxXProcessor(SphinxXImageProcessor(grid=2, conv_px=64, vit_px=28), SphinxXTokenizer(tokenizer_file(kind)))


@pytest.fixture
def model() -> SphinxXForConditionalGeneration:
    """The tiny Llama with a vocabulary as large as the tokenizer's."""
    return tiny_model("llama", vocab=420)


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_and_processor_come_back_from_their_files(kind: str, tmp_path: Path) -> None:
    processor = processor_of(kind)
    processor.save_pretrained(tmp_path)
    tokenizer = SphinxXTokenizer.from_pretrained(tmp_path)
    image_processor = SphinxXImageProcessor.from_pretrained(tmp_path)
    text = " Human: Is the small triangle red?\n### Assistant:"
    assert tokenizer.encode_text(text) == processor.tokenizer.encode_text(text)
    assert tokenizer.decode_text(tokenizer.encode_text(text)).strip() == text.strip()
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert len(tokenizer) == tokenizer.vocab_size
    assert (image_processor.grid, image_processor.conv_px, image_processor.vit_px) == (2, 64, 28)
    assert SphinxXProcessor(image_processor, tokenizer).stop_ids() == processor.stop_ids()


def test_the_placeholders_stand_right_after_bos_in_the_order_of_the_pictures() -> None:
    processor = processor_of()
    views = [processor.image_processor.views(picture) for picture in (WIDE, SQUARE)]
    ids = processor.prompt_ids(views, [("Is it red?", "No.")], "Why?")
    pictures = [VIEW_ID] * 21 + [SKIP_ID] * 2 + [VIEW_ID] * 35
    text = encode_prompt(processor.tokenizer.encode_text, [("Is it red?", "No.")], "Why?", 1)
    assert ids == [1, *pictures, *text[1:]]


def test_a_batch_is_padded_at_the_left_and_its_views_come_row_by_row() -> None:
    processor = processor_of()
    batch = processor([[WIDE], [], [SQUARE, WIDE]], ["Which colour?", "Why?", "Which is wider?"])
    rows = [processor([pictures], [question]) for pictures, question in (([WIDE], "Which colour?"), ([], "Why?"))]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert len(batch["conv_views"]) == 3 + 5 + 3
    assert batch["conv_views"].dtype == torch.uint8
    for place, row in enumerate(rows):
        width = row["input_ids"].shape[1]
        assert batch["input_ids"][place, -width:].tolist() == row["input_ids"][0].tolist()
        assert batch["attention_mask"][place].tolist() == [0] * (batch["input_ids"].shape[1] - width) + [1] * width
    assert "conv_views" not in rows[1]


def test_one_picture_and_one_question_need_no_lists() -> None:
    processor = processor_of()
    assert torch.equal(processor(SQUARE, "Why?")["input_ids"], processor([[SQUARE]], ["Why?"])["input_ids"])


def test_questions_and_pictures_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 questions but pictures for 1"):
        processor_of()([[SQUARE]], ["Why?", "How?"])


def test_chat_is_generate_and_the_stream_is_its_pieces(model: SphinxXForConditionalGeneration) -> None:
    processor = processor_of()
    history = [("Is it red?", "Yes.")]
    for pictures in ([], [SQUARE], [WIDE, SQUARE]):
        batch = processor([pictures], ["Where is it?"], histories=[history])
        ids = model.generate(**batch, max_new_tokens=16, stop_ids=processor.stop_ids())
        pieces = list(stream_chat(model, processor, "Where is it?", pictures, history, 16))
        assert "".join(pieces).strip() == processor.batch_decode(ids)[0]
        assert model.chat(pictures or None, "Where is it?", history, processor, 16) == processor.batch_decode(ids)[0]
        assert len(pieces) > 3


def test_views_of_no_picture_are_no_tensors() -> None:
    assert view_tensors([]) == {}
