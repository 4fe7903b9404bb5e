"""Features of frozen encoders are kept on the node: the same bits as without, shared by ranks, within a limit."""

import shutil
from itertools import chain

import pytest
import torch

from model.build import build_model
from model.data.features import FeatureCache
from model.data.shards import read_pictures
from model.sphinx_x.image_processing_sphinx_x import cut_views, open_picture
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from tests.model.data.loading import Run, same
from tests.support.raw_layouts import picture
from tests.support.variants import NANO


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("loader")
    return Run(folder, str(folder / "store"))


class CountedEncoders:
    """Nano's encoders, and how often they were asked."""

    def __init__(self, model: SphinxXForConditionalGeneration) -> None:
        self.model = model
        self.calls = 0

    def __call__(self, conv_views: torch.Tensor, vit_views: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.model.encode_views(conv_views, vit_views)


@pytest.fixture(scope="module")
def nano() -> SphinxXForConditionalGeneration:
    return build_model(NANO, None)


@pytest.fixture
def encoders(nano) -> CountedEncoders:
    return CountedEncoders(nano)


def num_pictures(run: Run) -> int:
    """Different pictures of the corpus that the plan shows."""
    return len({row for one in run.corpus.datasets for row in read_pictures(one.uri).column("digest").to_pylist()})


@pytest.mark.parametrize("workers", [0, 3])
def test_a_picture_is_encoded_once_and_its_features_are_those_of_the_encoders(local, tmp_path, encoders, workers):
    batches = local.read(0, 1, 0, encoders, workers=workers, feature_cache_mb=8, cache_dir=str(tmp_path))
    shown = num_pictures(local)
    assert encoders.calls == shown if workers == 0 else shown <= encoders.calls <= shown + 2 * workers
    plain = local.read()
    for with_features, with_views in zip(chain(*batches), chain(*plain), strict=True):
        assert with_features.conv_views is None
        if with_views.conv_views is None:
            assert with_features.features is None
            continue
        expected = encoders.model.encode_views(with_views.conv_views, with_views.vit_views)
        torch.testing.assert_close(with_features.features, expected, rtol=1e-4, atol=1e-4)
    assert not list(tmp_path.rglob("*.*")), "the last to close leaves nothing behind"


def test_a_cache_that_holds_nothing_gives_the_same_features_bit_by_bit(local, tmp_path, encoders):
    cached = local.read(0, 1, 0, encoders, feature_cache_mb=8, cache_dir=str(tmp_path))
    calls = encoders.calls
    tail = local.read(0, 1, 2, encoders, feature_cache_mb=8, cache_dir=str(tmp_path))
    assert encoders.calls > calls
    assert all(same(a, b) for one, two in zip(cached[2:], tail, strict=True) for a, b in zip(one, two, strict=True))


def test_features_that_a_killed_run_left_are_used_by_the_one_that_goes_on(local, tmp_path, encoders):
    left_open = local.open(0, 1, 0, encoders, feature_cache_mb=8, cache_dir=str(tmp_path))
    list(left_open)
    calls = encoders.calls
    (kept,) = tmp_path.glob("sphinx-x-features-*/*")
    shutil.copytree(kept, tmp_path / "aside")
    left_open.close()
    shutil.move(tmp_path / "aside", kept)
    local.read(0, 1, 0, encoders, feature_cache_mb=8, cache_dir=str(tmp_path))
    assert encoders.calls == calls


def test_ranks_share_features_and_the_last_to_close_removes_them(local, tmp_path, encoders):
    settings = {"feature_cache_mb": 8, "cache_dir": str(tmp_path)}
    with local.open(0, 2, 0, encoders, **settings) as first, local.open(1, 2, 0, encoders, **settings) as second:
        for _ in zip(first, second, strict=True):
            pass
        second.close()
        assert encoders.calls == num_pictures(local)
        (folder,) = tmp_path.glob("sphinx-x-features-*/*")
        assert len([path for path in folder.iterdir() if not path.name.startswith(".")]) == num_pictures(local)
    assert not folder.exists()


def test_a_feature_cache_keeps_no_more_than_it_may(local, tmp_path, nano):
    views = cut_views(open_picture(picture(80, 40)), NANO.geometry.grid, NANO.geometry.conv_px, NANO.geometry.vit_px)
    one = nano.encode_views(torch.from_numpy(views.conv), torch.from_numpy(views.vit))
    cache = FeatureCache(nano.encode_views, "key", 3 * one.numel() * one.element_size(), str(tmp_path))
    for number in range(5):
        assert torch.equal(cache.features(f"{number:064d}", lambda: views), one)
    assert len(list(cache.folder.glob("0*"))) == 3
    assert all(torch.equal(cache.features(f"{number:064d}", lambda: views), one) for number in range(5))
    cache.close()


def test_features_in_sixteen_bits_come_back_as_they_were(tmp_path):
    views = cut_views(open_picture(picture(80, 40)), NANO.geometry.grid, NANO.geometry.conv_px, NANO.geometry.vit_px)
    made = torch.randn(3, 5, 288).bfloat16()
    cache = FeatureCache(lambda conv_views, vit_views: made, "key", 1 << 20, str(tmp_path))
    first, second = (cache.features("a" * 64, lambda: views) for _ in range(2))
    assert first.dtype == second.dtype == torch.bfloat16
    assert torch.equal(first, made)
    assert torch.equal(second, made)
    cache.close()
