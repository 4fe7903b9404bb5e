"""Unify: raw datasets in, content-addressed shards out; then one corpus that names them all.

A dataset's folder is `<store>/datasets/<name>-<key>/`. The key is a digest of everything its samples depend on: the
dataset's entry in the recipe (without its place and its share), the seed, the padding, the version of the reader and of
this file, the content of the annotation files, and the names and sizes of the pictures. Pictures are not read to compute
it, so a picture that is replaced by another of equal name and size goes unseen: give it a new name.

Any number of runs may make the same folder at once: they write the same bytes, each file at once, the manifest last.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from model import storage
from model.contracts.base import canonical_json, digest_of
from model.contracts.corpus import INDEX_FILE, MANIFEST_FILE, REJECTS_FILE, CorpusDataset, CorpusManifest, Reject
from model.contracts.recipe import DatasetSpec, Recipe
from model.data.dataset_maker import DatasetMaker, Progress
from model.data.shards import DEFAULT_SHARD_BYTES, INDEX_SCHEMA, parquet_bytes, read_dataset_manifest, read_index, read_pictures
from model.data.sources import check_dataset, source_named
from model.data.sources.base import RawInputs
from model.data.sources.files import open_stream
from model.errors import DataError, StorageError

UNIFY_VERSION = 1
"""Grows whenever the same raw samples give other shards."""


def unify_dataset(
    recipe: Recipe,
    name: str,
    store_uri: str,
    progress: Progress | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> str:
    """Turn one raw dataset of a recipe into shards; returns at once where that was done before.

    Args:
        recipe: The whole recipe: seed, padding and the share of rejects that is borne.
        name: Name of the dataset in the recipe.
        store_uri: The store; the dataset lies below `datasets/` in it.
        progress: Called now and then.
        shard_bytes: A shard is closed before it grows beyond this.

    Returns:
        URI of the dataset's folder.

    Raises:
        DataError: the raw files cannot be read, hold no sample, or too many faulty ones; no manifest is written.
        ConfigError: an unknown family or option.
        StorageError: the store or the raw files cannot be reached.
    """
    spec = recipe.dataset(name)
    source = source_named(spec.family)
    inputs = check_dataset(spec)
    sizes = {file.path: file.bytes for file in storage.list_files(inputs.pictures)} if inputs.pictures else {}
    key = digest_of(
        {
            "spec": spec.model_dump(mode="json", exclude={"root", "share"}),
            "seed": recipe.seed,
            "padding": recipe.padding,
            "max_reject_share": recipe.max_reject_share,
            "shard_bytes": shard_bytes,
            "versions": [UNIFY_VERSION, source.version, source.tool_version()],
            "raw": _fingerprint(spec, inputs, sizes),
        }
    )
    uri = storage.join(_absolute(store_uri), "datasets", f"{name}-{key[:12]}")
    if not storage.exists(storage.join(uri, MANIFEST_FILE)):
        try:
            with DatasetMaker(recipe, spec, source, inputs, sizes, uri) as maker:
                maker.run(progress or (lambda done, total: None), shard_bytes)
        except OSError as error:
            what = f"dataset {name} ({spec.root}) cannot be read or written: {error.strerror or error}"
            raise StorageError(f"{what}; check the disks (temporary files lie in {tempfile.gettempdir()}).") from error
    return uri


def _fingerprint(spec: DatasetSpec, inputs: RawInputs, sizes: dict[str, int]) -> dict[str, Any]:
    """What the raw files hold: content of annotations, names and sizes of pictures, and nothing of where they lie."""
    root = spec.root.rstrip("/") + "/"
    annotations = {}
    for uri in inputs.annotations:
        digest = hashlib.sha256()
        with open_stream(uri) as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        annotations[uri.removeprefix(root)] = digest.hexdigest()
    return {"annotations": annotations, "pictures": [[path, size] for path, size in sorted(sizes.items())]}


def merge_corpus(recipe: Recipe, dataset_uris: list[str], store_uri: str) -> str:
    """Join a recipe's unified datasets into one corpus: an index over all and a manifest; no shard is copied.

    A sample that shows a picture which any of the datasets holds out is left out of the index, and counted.

    Args:
        recipe: Gives the datasets' order and shares.
        dataset_uris: Folders from `unify_dataset`, in any order, one for each dataset of the recipe.
        store_uri: The store; the corpus lies below `corpora/` in it.

    Returns:
        URI of the corpus's folder.

    Raises:
        DataError: a dataset is missing, or was made with another padding.
        StorageError, ContractError: a dataset's folder is not finished or not readable.
    """
    found = {manifest.name: (uri, manifest) for uri in dataset_uris for manifest in [read_dataset_manifest(uri)]}
    datasets = []
    for spec in recipe.datasets:
        if spec.name not in found:
            raise DataError(f"dataset {spec.name} of recipe {recipe.name} is not among the unified ones; run unify on it.")
        uri, manifest = found[spec.name]
        if manifest.padding != recipe.padding:
            raise DataError(
                f"{uri} was made with padding {manifest.padding}, the recipe wants {recipe.padding}; run unify again."
            )
        datasets.append(CorpusDataset(name=spec.name, uri=_absolute(uri), share=spec.share, manifest=manifest))
    digest = digest_of(
        {
            "padding": recipe.padding,
            "datasets": [[one.manifest.digest, one.share] for one in datasets],
            "version": UNIFY_VERSION,
        }
    )
    uri = storage.join(_absolute(store_uri), "corpora", digest[:12])
    where = storage.join(uri, MANIFEST_FILE)
    if storage.exists(where):
        # Same content under another address (the store was moved, or another recipe's name): written anew.
        there = CorpusManifest.from_json(storage.read_bytes(where), where)
        if there.datasets == tuple(datasets) and there.recipe == recipe.name:
            return uri
    held_out = _held_out_digests(datasets)
    indices = [_usable_index(one, place, held_out) for place, one in enumerate(datasets)]
    index_file = parquet_bytes(pa.concat_tables([index for index, _ in indices]))
    storage.write_bytes(storage.join(uri, INDEX_FILE), index_file)
    rejects = [reject for _, left_out in indices for reject in left_out]
    storage.write_text(storage.join(uri, REJECTS_FILE), "".join(canonical_json(one.model_dump()) + "\n" for one in rejects))
    manifest = CorpusManifest(
        recipe=recipe.name,
        digest=digest,
        padding=recipe.padding,
        samples=sum(index.num_rows for index, _ in indices),
        left_out_samples=len(rejects),
        datasets=tuple(datasets),
        index_sha256=hashlib.sha256(index_file).hexdigest(),
    )
    storage.write_text(where, manifest.to_json())
    return uri


def _held_out_digests(datasets: list[CorpusDataset]) -> pa.ChunkedArray:
    """Digests of all pictures that any of the datasets holds out."""
    tables = [read_pictures(one.uri) for one in datasets if one.manifest.held_out_pictures]
    found = [table.filter(pc.field("row") < 0).column("digest") for table in tables]
    return pa.chunked_array([chunk for column in found for chunk in column.chunks], pa.binary(32))


def _usable_index(dataset: CorpusDataset, place: int, held_out: pa.ChunkedArray) -> tuple[pa.Table, list[Reject]]:
    """A dataset's index under its place in the corpus, without samples whose picture is held out elsewhere.

    Public sets share pictures (most of COCO's descendants), and hold doubles under several names; the same bytes must not
    be trained on in one place and asked about in another.
    """
    index = read_index(dataset.uri)
    position = INDEX_SCHEMA.get_field_index("dataset")
    index = index.set_column(position, INDEX_SCHEMA.field(position), pa.array([place] * index.num_rows, pa.int16()))
    if not len(held_out) or not dataset.manifest.pictures:
        return index, []
    pictures = read_pictures(dataset.uri).filter(pc.field("row") >= 0)
    held_out_set = set(held_out.to_pylist())
    rows = {row for row, digest in zip(*pictures.to_pydict().values(), strict=True) if digest in held_out_set}
    if not rows:
        return index, []
    left_out = [
        Reject(id=index.column("sample_id")[row].as_py(), reason="picture held out elsewhere", kind="rule")
        for row in sorted(rows)
    ]
    return index.filter(pa.array([row not in rows for row in range(index.num_rows)])), left_out


def _absolute(uri: str) -> str:
    """A local path made absolute, since manifests are read from other working directories."""
    path = storage.local_path(uri)
    return uri.rstrip("/") if path is None else str(Path(path).resolve())
