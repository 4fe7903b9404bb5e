"""Materialising: what was planned and nothing else, in tensors that the model takes as they are."""

import hashlib

import numpy as np
import pytest
import torch

from model.build import build_model
from model.contracts.corpus import Picture, Sample, Turn
from model.data.lengths import open_pieces
from model.data.materialise import IGNORED, PackBatch, assemble_pack, materialise_sample
from model.data.steps import PackRef, SampleRef
from model.errors import DataError
from model.sphinx_x.dialogue import encode_dialogue
from model.sphinx_x.image_processing_sphinx_x import cut_views, open_picture
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.sphinx_x.pieces import Pieces
from model.train.spec import read_corpus_manifest
from tests.support.corpora import make_base, make_corpus
from tests.support.raw_layouts import picture
from tests.support.variants import NANO

GEOMETRY = NANO.geometry
P = GEOMETRY.tokens_per_view
WIDE, SQUARE = picture(80, 40), picture(50, 50, shade=20)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> Pieces:
    folder = tmp_path_factory.mktemp("materialise")
    corpus_uri = make_corpus(folder, str(folder / "store"))
    datasets = read_corpus_manifest(corpus_uri).datasets
    return open_pieces(make_base([one.uri for one in datasets], str(folder / "base")))


def picture_of(data: bytes, width_px: int, height_px: int, **fields) -> Picture:
    return Picture(file="0.0.jpg", width_px=width_px, height_px=height_px, sha256=hashlib.sha256(data).hexdigest(), **fields)


@pytest.fixture(scope="module")
def nano() -> SphinxXForConditionalGeneration:
    return build_model(NANO, None)


TURNS = (Turn(question="What is it?", answer="A cup."), Turn(question="Sure?", answer="Yes.", supervised=False),
         Turn(question="And where?", answer="On the table."))  # fmt: skip
PICTURED = Sample(
    id="set/1", dataset="set", task="vqa", turns=TURNS, pictures=(picture_of(WIDE, 80, 40), picture_of(SQUARE, 50, 50))
)
TEXT = Sample(id="set/2", dataset="set", task="text", turns=TURNS[:1])


def planned(sample: Sample, pieces: Pieces, turns: int | None = None) -> SampleRef:
    kept = sample.turns[:turns]
    dialogue = encode_dialogue(pieces.encode_text, [(t.question, t.answer, t.supervised) for t in kept], pieces.bos_id)
    views, skips = (8, 2) if sample.pictures else (0, 0)
    return SampleRef(0, len(kept), len(dialogue.ids) + views * P + skips, sum(dialogue.supervised), views, skips)


def part_of(sample: Sample, pieces: Pieces, turns: int | None = None, contents: tuple[bytes, ...] = (WIDE, SQUARE), **fields):
    contents = contents if sample.pictures else ()
    ref = planned(sample, pieces, turns)
    return ref, materialise_sample(ref, sample, contents, pieces, GEOMETRY, "corner", **fields)


def test_pictures_stand_right_after_the_first_token_view_by_view(pieces):
    ref, part = part_of(PICTURED, pieces)
    dialogue = encode_dialogue(pieces.encode_text, [(t.question, t.answer, t.supervised) for t in TURNS], pieces.bos_id)
    # A wide picture: the whole, the upper two quarters, two skip tokens; then a square one: all five.
    assert part.view_starts.tolist() == [1, 1 + P, 1 + 2 * P, *(1 + 3 * P + 2 + view * P for view in range(5))]
    assert part.skip_positions.tolist() == [1 + 3 * P, 2 + 3 * P]
    num_picture_tokens = 8 * P + 2
    assert part.ids[0] == pieces.bos_id
    assert part.ids[1 + num_picture_tokens :].tolist() == dialogue.ids[1:]
    assert (part.labels[: 1 + num_picture_tokens] == IGNORED).all()
    supervised = np.array(dialogue.supervised)
    text_labels = np.concatenate([part.labels[:1], part.labels[1 + num_picture_tokens :]])
    assert (text_labels[supervised] == np.array(dialogue.ids)[supervised]).all()
    assert (text_labels[~supervised] == IGNORED).all()
    assert len(part.ids) == ref.tokens


def test_views_are_those_that_everyone_else_cuts(pieces):
    _, part = part_of(PICTURED, pieces)
    for views, content in zip(part.views, (WIDE, SQUARE), strict=True):
        expected = cut_views(open_picture(content), GEOMETRY.grid, GEOMETRY.conv_px, GEOMETRY.vit_px)
        assert np.array_equal(views.conv, expected.conv)
        assert np.array_equal(views.vit, expected.vit)


def test_a_long_sample_ends_with_the_last_turn_that_was_kept(pieces):
    ref, part = part_of(PICTURED, pieces, turns=1)
    assert ref.turns == 1
    assert len(part.ids) == ref.tokens < part_of(PICTURED, pieces)[0].tokens


def test_a_turned_picture_is_seen_upright(pieces):
    turned = picture(40, 80, orientation=6)
    sample = PICTURED.model_copy(update={"pictures": (picture_of(turned, 80, 40, upright=True), PICTURED.pictures[1])})
    _, part = part_of(sample, pieces, contents=(turned, SQUARE))
    assert len(part.views[0].conv) == 3


def test_a_pack_joins_samples_whose_positions_start_anew(pieces):
    made = [part_of(PICTURED, pieces, labels_of=(0, 1)), part_of(TEXT, pieces, labels_of=(1, 2))]
    refs, parts = (tuple(column) for column in zip(*made, strict=True))
    batch = assemble_pack(PackRef(refs), parts, pieces)
    first, second = refs[0].tokens, refs[1].tokens
    assert batch.cu_seqlens.tolist() == [0, first, first + second]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.position_ids.tolist() == [*range(first), *range(second)]
    assert batch.max_seqlen == max(first, second)
    assert batch.samples == 2
    assert batch.supervised_datasets.tolist() == [0] * refs[0].supervised_tokens + [1] * refs[1].supervised_tokens
    assert batch.supervised_tasks.tolist() == [1] * refs[0].supervised_tokens + [2] * refs[1].supervised_tokens
    both = assemble_pack(PackRef(refs[::-1]), parts[::-1], pieces)
    assert both.view_starts.tolist() == (batch.view_starts + second).tolist()
    assert both.skip_positions.tolist() == (batch.skip_positions + second).tolist()


def test_the_model_runs_every_kind_of_pack_with_the_same_parameters(pieces, nano):
    pictured, text = (part_of(sample, pieces) for sample in (PICTURED, TEXT))
    packs = [
        assemble_pack(PackRef((pictured[0], text[0])), [pictured[1], text[1]], pieces),
        assemble_pack(PackRef((text[0],)), [text[1]], pieces),
        assemble_pack(PackRef(), [], pieces),
    ]
    for pack in packs:
        nano.zero_grad()
        losses = nano.forward_packed(pack.to("cpu"))
        losses.loss_sum.backward()
        assert len(losses.token_losses) == len(pack.supervised_datasets) == len(pack.supervised_tasks)
        assert all(parameter.grad is not None for parameter in nano.parameters() if parameter.requires_grad)
        assert torch.isfinite(losses.loss_sum)
    assert packs[2].samples == 0
    assert losses.loss_sum == 0
    assert all(not parameter.grad.any() for parameter in nano.parameters() if parameter.requires_grad)


def test_features_in_place_of_views_give_the_same_loss(pieces, nano):
    ref, with_views = part_of(PICTURED, pieces)

    def encode(one: Picture, content: bytes) -> torch.Tensor:
        views = cut_views(open_picture(content), GEOMETRY.grid, GEOMETRY.conv_px, GEOMETRY.vit_px)
        return nano.encode_views(torch.from_numpy(views.conv), torch.from_numpy(views.vit))

    _, with_features = part_of(PICTURED, pieces, features_of=encode)
    batches: list[PackBatch] = [assemble_pack(PackRef((ref,)), [part], pieces) for part in (with_views, with_features)]
    assert batches[1].conv_views is None
    assert batches[1].features is not None
    assert batches[1].features.shape == (8, P - 2, NANO.fused_channels)
    losses = [nano.forward_packed(batch).loss_sum.item() for batch in batches]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_differs_from_the_plan_names_the_sample(pieces):
    ref = planned(PICTURED, pieces)
    other = SampleRef(0, ref.turns, ref.tokens + 1, ref.supervised_tokens, ref.real_views, ref.skipped_views)
    with pytest.raises(DataError, match="sample set/1 has .* were planned; .* delete the store's lengths folder"):
        materialise_sample(other, PICTURED, (WIDE, SQUARE), pieces, GEOMETRY, "corner")


def test_a_damaged_picture_names_the_sample(pieces):
    with pytest.raises(DataError, match="bytes of picture 0.0.jpg of sample set/1 are damaged"):
        part_of(PICTURED, pieces, contents=(WIDE[:-1] + b"x", SQUARE))
    broken = PICTURED.model_copy(update={"pictures": (picture_of(b"no picture", 80, 40), PICTURED.pictures[1])})
    with pytest.raises(DataError, match="picture 0.0.jpg of sample set/1: .*decoded"):
        part_of(broken, pieces, contents=(b"no picture", SQUARE))
    other_size = PICTURED.model_copy(update={"pictures": (picture_of(WIDE, 90, 45), PICTURED.pictures[1])})
    with pytest.raises(DataError, match="is 80 x 40 pixels, 90 x 45 are recorded"):
        part_of(other_size, pieces)
