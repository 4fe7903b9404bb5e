"""Making one unified dataset: raw samples are chosen, their pictures fetched and checked, shards and counts written.

Pictures are fetched by threads ahead of time and written in the readers' order, so the same raw files give the same bytes.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from model import storage
from model.contracts.base import canonical_json, digest_of
from model.contracts.corpus import (
    INDEX_FILE,
    MANIFEST_FILE,
    PICTURES_FILE,
    REJECTS_FILE,
    SHARDS_FOLDER,
    DatasetManifest,
    Picture,
    Reject,
    Sample,
)
from model.contracts.recipe import DatasetSpec, Recipe
from model.data.holdout import is_held_out
from model.data.parallel import ordered_map
from model.data.pictures import MAX_PICTURE_BYTES, PictureFault, PictureInfo, inspect_picture
from model.data.shards import PICTURES_SCHEMA, ShardWriter, parquet_bytes
from model.data.sources.base import RawInputs, RawSample, Source
from model.errors import DataError

Progress = Callable[[int, int | None], None]
"""Called with the number of raw samples done and, where it is known, of all."""

_NUM_FETCHERS = 8
_NUM_AHEAD = 64
_PROGRESS_EVERY = 100


@dataclass(frozen=True)
class _Fetched:
    """A raw sample with its pictures' bytes and what they say, or why it is rejected, or only the digests of those held out."""

    raw: RawSample
    held_out: dict[str, bytes] | None = None
    """Digest by place of each held-out picture, where it shows one."""
    pictures: tuple[tuple[bytes, PictureInfo, tuple[int, int, bool]], ...] = ()
    reject: Reject | None = None


class DatasetMaker:
    """One dataset on its way into shards: the counts that end up in its manifest."""

    def __init__(
        self, recipe: Recipe, spec: DatasetSpec, source: Source, inputs: RawInputs, sizes: dict[str, int], uri: str
    ) -> None:
        self.recipe, self.spec, self.source, self.inputs, self.sizes, self.uri = recipe, spec, source, inputs, sizes, uri
        self.held_out: dict[str, bytes] = {}
        self.tasks: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.turns = self.pictures = self.parts = 0
        self.picture_rows: list[int] = []
        self.picture_digests: list[bytes] = []
        # In a temporary file, since the largest sets reject millions of lines.
        self._folder = tempfile.TemporaryDirectory(prefix="sphinx-x-rejects-")
        self._rejects = open(Path(self._folder.name) / REJECTS_FILE, "w", encoding="utf-8", errors="replace")  # noqa: SIM115

    def __enter__(self) -> "DatasetMaker":
        return self

    def __exit__(self, *_: object) -> None:
        self._rejects.close()
        self._folder.cleanup()

    def run(self, progress: Progress, shard_bytes: int) -> None:
        with ShardWriter(self.uri, shard_bytes) as writer:
            for done, fetched in enumerate(ordered_map(self._fetch, self._chosen(), _NUM_FETCHERS, _NUM_AHEAD), start=1):
                self._add(fetched, writer)
                if done % _PROGRESS_EVERY == 0:
                    progress(done, None)
            shards, index = writer.close()
        progress(writer.num_samples + self.lost["sample"], writer.num_samples + self.lost["sample"])
        self._rejects.flush()
        storage.upload_file(Path(self._rejects.name), storage.join(self.uri, REJECTS_FILE))
        self._check(writer.num_samples, index)
        index_file = parquet_bytes(index)
        storage.write_bytes(storage.join(self.uri, INDEX_FILE), index_file)
        held_out = [self.held_out[place] for place in sorted(self.held_out)]
        rows, digests = [*self.picture_rows, *[-1] * len(held_out)], [*self.picture_digests, *held_out]
        pictures = pa.table([rows, digests], schema=PICTURES_SCHEMA)
        storage.write_bytes(storage.join(self.uri, PICTURES_FILE), parquet_bytes(pictures))
        manifest = DatasetManifest(
            name=self.spec.name,
            family=self.spec.family,
            licence=self.spec.licence,
            digest=digest_of(
                {
                    "name": self.spec.name,
                    "padding": self.recipe.padding,
                    "held_out": sorted(digest.hex() for digest in held_out),
                    "shards": [shard.sha256 for shard in shards],
                }
            ),
            samples=writer.num_samples,
            turns=self.turns,
            pictures=self.pictures,
            held_out_pictures=len(self.held_out),
            tasks=dict(sorted(self.tasks.items())),
            rejects=dict(sorted(self.reasons.items())),
            padding=self.recipe.padding,
            shards=shards,
            index_sha256=hashlib.sha256(index_file).hexdigest(),
        )
        # Written last: whoever sees the manifest may trust every file it lists.
        storage.write_text(storage.join(self.uri, MANIFEST_FILE), manifest.to_json())

    def _chosen(self) -> Iterator[tuple[RawSample, bool]]:
        """The raw samples that training may see, up to the dataset's limit of pictures (of samples, where it has none).

        Those that show a held-out picture come too, marked True.
        """
        seen: set[str] = set()
        for found in self.source.read(self.spec, self.recipe.seed, self.recipe.padding):
            if isinstance(found, Reject):
                self._reject(found)
                continue
            keys = {picture.key for picture in found.pictures}
            if any(self._is_held_out(key) for key in keys):
                yield found, True
                continue
            units = keys or {found.id}
            if self.spec.limit is not None:
                if len(seen) + len(units - seen) > self.spec.limit:
                    if not self.spec.held_out_share:
                        return
                    continue
                seen |= units
            yield found, False

    def _is_held_out(self, key: str) -> bool:
        return is_held_out(key, self.recipe.seed, self.spec.held_out_share)

    def _fetch(self, chosen: tuple[RawSample, bool]) -> _Fetched:
        """Read and check a sample's pictures; runs in a thread."""
        raw, holds_out = chosen
        if holds_out:
            return _Fetched(raw, held_out=self._held_out_digests(raw))
        pictures: list[tuple[bytes, PictureInfo, tuple[int, int, bool]]] = []
        for picture in raw.pictures:
            try:
                data = picture.data if picture.data is not None else self._read_picture(picture.uri)
                info = inspect_picture(data)
                pictures.append((data, info, info.shown(picture.annotated_px)))
            except PictureFault as fault:
                detail = f"{picture.uri} {fault.detail}".strip()
                return _Fetched(raw, reject=Reject(id=raw.id, reason=fault.reason, detail=detail))
        return _Fetched(raw, pictures=tuple(pictures))

    def _held_out_digests(self, raw: RawSample) -> dict[str, bytes]:
        """Digests of a sample's held-out pictures, to know them again where another dataset shows them."""
        digests: dict[str, bytes] = {}
        for picture in raw.pictures:
            if not self._is_held_out(picture.key) or picture.uri in self.held_out:
                continue
            try:
                data = picture.data if picture.data is not None else self._read_picture(picture.uri)
            except PictureFault:
                continue
            digest = hashlib.sha256(data).digest()
            digests[picture.uri or digest.hex()] = digest
        return digests

    def _read_picture(self, uri: str) -> bytes:
        size = self.sizes.get(uri.removeprefix(self.inputs.pictures.rstrip("/") + "/"))
        if size is None:
            raise PictureFault("picture missing", "")
        if size > MAX_PICTURE_BYTES:
            raise PictureFault("picture too large", f"{size} bytes, at most {MAX_PICTURE_BYTES} are read")
        return storage.read_bytes(uri)

    def _add(self, fetched: _Fetched, writer: ShardWriter) -> None:
        raw = fetched.raw
        if fetched.held_out is not None:
            self.held_out |= fetched.held_out
            return
        for reject in raw.left_out:
            self._reject(reject)
        problem = fetched.reject or _text_fault(raw)
        if problem is not None:
            self._reject(problem)
            return
        pictures = [
            Picture(
                file=f"{writer.next_member()}.{place}.{info.extension}",
                width_px=width_px,
                height_px=height_px,
                upright=upright,
                sha256=info.sha256,
            )
            for place, (_, info, (width_px, height_px, upright)) in enumerate(fetched.pictures)
        ]
        sample = Sample(
            id=f"{self.spec.name}/{raw.id}", dataset=self.spec.name, task=raw.task, pictures=tuple(pictures), turns=raw.turns
        )
        self.picture_rows += [writer.num_samples] * len(pictures)
        self.picture_digests += [bytes.fromhex(picture.sha256) for picture in pictures]
        writer.add(sample, [data for data, _, _ in fetched.pictures])
        self.tasks[raw.task] += 1
        self.turns += len(raw.turns)
        self.pictures += len(pictures)
        self.parts += raw.num_parts

    def _reject(self, reject: Reject) -> None:
        fields = reject.model_dump(mode="json") | {"id": f"{self.spec.name}/{reject.id}"}
        self._rejects.write(canonical_json(fields) + "\n")
        self.reasons[reject.reason] += 1
        self.lost[reject.kind] += 1

    def _check(self, num_samples: int, index: pa.Table) -> None:
        """Stop where too much was lost: nothing that a later run could take for whole stays behind."""
        problem = ""
        for kind, kept, noun in (("sample", num_samples, "samples"), ("part", self.parts, "boxes, lines or questions")):
            lost = self.lost[kind]
            if lost > self.recipe.max_reject_share * (lost + kept):
                problem = (
                    f"{lost} of {lost + kept} {noun} are faulty, more than max_reject_share "
                    f"{self.recipe.max_reject_share:g} bears; see {storage.join(self.uri, REJECTS_FILE)} "
                    f"({self._commonest()}), mend the raw files or raise max_reject_share"
                )
                break
        if not problem and num_samples == 0:
            problem = f"it gives no sample ({self._commonest() or 'it holds nothing'}); check root, split and options"
        if not problem and (twice := _first_double(index)):
            problem = f"the sample {twice} occurs twice; the raw files list something twice, mend them"
        if problem:
            storage.delete_tree(storage.join(self.uri, SHARDS_FOLDER))
            raise DataError(f"dataset {self.spec.name} ({self.spec.root}): {problem}.")

    def _commonest(self) -> str:
        return ", ".join(f"{count} x {reason}" for reason, count in self.reasons.most_common(3))


def _text_fault(raw: RawSample) -> Reject | None:
    for number, turn in enumerate(raw.turns):
        if not turn.question.strip() or not turn.answer.strip():
            return Reject(id=raw.id, reason="empty turn", detail=f"turn {number}")
        try:
            (turn.question + turn.answer + raw.id).encode("utf-8")
        except UnicodeEncodeError:
            return Reject(id=raw.id, reason="text is not valid Unicode", detail=ascii(turn.question[:80]))
    return None


def _first_double(index: pa.Table) -> str:
    """A sample id that occurs more than once; empty if there is none."""
    counts = index.group_by("sample_id").aggregate([("shard", "count")]).to_pydict()
    doubles = [name for name, count in zip(counts["sample_id"], counts["shard_count"], strict=True) if count > 1]
    return min(doubles, default="")
