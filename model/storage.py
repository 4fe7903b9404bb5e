"""Storage: every file the project reads or writes, by URI (a local path, file://, s3://, or any other fsspec scheme).

Rules that hold for every scheme:
- `write_bytes` is all or nothing: a reader sees the old file, the new file or none;
- `write_new` creates a file only if it is not there, and says whether it did (commit markers, leases);
- whole trees travel by `upload_tree` and `download_tree`, which use boto3's transfer manager on S3.

S3 settings come from the environment, the same names on a laptop, in a component and in a TrainJob: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3).
"""

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from pydantic import BaseModel

from model.errors import StorageError
from model.storage_faults import explained
from model.storage_s3 import bucket_and_key, new_s3_client, s3_client, transfer_config


class FileInfo(BaseModel):
    """A file below a folder."""

    path: str
    """Path relative to the folder."""
    bytes: int
    changed: datetime | None = None
    """When it was written last; None where the filesystem does not say."""


def join(uri: str, *parts: str) -> str:
    """A file or folder below a URI."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def local_path(uri: str) -> Path | None:
    """The path of a local URI; None for anything that lies elsewhere."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return Path(uri) if "://" not in uri else None


def exists(uri: str) -> bool:
    """Whether there is a file or a folder."""
    with explained("look up", uri):
        filesystem, path = _open_filesystem(uri)
        return filesystem.exists(path)


def read_bytes(uri: str) -> bytes:
    with explained("read", uri):
        filesystem, path = _open_filesystem(uri)
        return filesystem.cat_file(path)


def read_text(uri: str) -> str:
    return read_bytes(uri).decode("utf-8")


def read_range(uri: str, start: int, length: int) -> bytes:
    """`length` bytes from byte `start` on.

    Raises:
        StorageError: the file is shorter, or cannot be read.
    """
    with explained("read", uri):
        filesystem, path = _open_filesystem(uri)
        data = filesystem.cat_file(path, start=start, end=start + length)
    if len(data) != length:
        raise StorageError(f"{uri} ends {length - len(data)} bytes before the index says; make the dataset again.")
    return data


def write_bytes(uri: str, data: bytes) -> None:
    """Write a whole file at once; on local disks by a temporary file that is flushed and renamed."""
    with explained("write", uri):
        path = local_path(uri)
        if path is None:
            filesystem, remote = _open_filesystem(uri)
            filesystem.pipe_file(remote, data)
            return
        with _temporary_beside(path) as (file, temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)


def write_text(uri: str, text: str) -> None:
    write_bytes(uri, text.encode("utf-8"))


def write_new(uri: str, data: bytes) -> bool:
    """Create a file unless it exists; True if this call made it (S3: a conditional PUT, If-None-Match: *)."""
    with explained("write", uri):
        path = local_path(uri)
        if path is not None:
            with _temporary_beside(path) as (file, temporary):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
            return True
        if not uri.startswith("s3://"):
            filesystem, remote = _open_filesystem(uri)
            if filesystem.exists(remote):
                return False
            filesystem.pipe_file(remote, data)
            return True
        from botocore.exceptions import ClientError

        bucket, key = bucket_and_key(uri)
        try:
            s3_client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
                return False
            raise
        return True


def list_files(uri: str) -> list[FileInfo]:
    """All files below a folder, sorted by path; an absent folder has none."""
    with explained("list", uri):
        filesystem, path = _open_filesystem(uri)
        filesystem.invalidate_cache()
        found = filesystem.find(path, detail=True)
    root = path.rstrip("/") + "/"
    return [
        FileInfo(path=name.removeprefix(root), bytes=int(info["size"]), changed=_changed(info))
        for name, info in sorted(found.items())
        if name.startswith(root)
    ]


def _changed(info: dict[str, Any]) -> datetime | None:
    """Filesystems say it by different names and types: LastModified (s3fs), mtime in seconds (local), created (memory), ..."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        said = info.get(name)
        if isinstance(said, int | float):
            return datetime.fromtimestamp(said, UTC)
        if isinstance(said, str):
            said = datetime.fromisoformat(said)
        if isinstance(said, datetime):
            return said if said.tzinfo else said.replace(tzinfo=UTC)
    return None


def delete_tree(uri: str) -> None:
    """Remove a file, or a folder with all below it; an absent one is no error."""
    with explained("delete", uri):
        filesystem, path = _open_filesystem(uri)
        filesystem.invalidate_cache()
        if uri.startswith("s3://"):
            # File by file: told to delete a tree, s3fs also asks for its folders, which servers that keep objects as files refuse.
            if files := filesystem.find(path):
                filesystem.rm(files)
        elif filesystem.exists(path):
            filesystem.rm(path, recursive=True)


def upload_file(path: Path, uri: str) -> None:
    """Copy a local file to a URI, in parts where it is large; a reader never sees half of it."""
    with explained("write", uri):
        target = local_path(uri)
        if target is not None:
            _copy_whole(path, target)
        elif uri.startswith("s3://"):
            bucket, key = bucket_and_key(uri)
            s3_client().upload_file(str(path), bucket, key, Config=transfer_config())
        else:
            filesystem, remote = _open_filesystem(uri)
            filesystem.put_file(str(path), remote)


def download_file(uri: str, path: Path) -> None:
    """Copy a file to a local path; a kill leaves no half-written file there."""
    with explained("read", uri):
        source = local_path(uri)
        if source is not None:
            _copy_whole(source, path)
            return
        with _temporary_beside(path) as (file, temporary):
            if uri.startswith("s3://"):
                bucket, key = bucket_and_key(uri)
                s3_client().download_fileobj(bucket, key, file, Config=transfer_config())
            else:
                filesystem, remote = _open_filesystem(uri)
                filesystem.get_file(remote, file)
            file.flush()
            os.replace(temporary, path)


def upload_tree(folder: Path, uri: str) -> None:
    """Copy all files below a local folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        upload_file(path, join(uri, path.relative_to(folder).as_posix()))


def download_tree(uri: str, folder: Path) -> None:
    """Copy all files below a URI to a local folder.

    Raises:
        StorageError: there is nothing below the URI.
    """
    files = list_files(uri)
    if not files:
        raise StorageError(f"there is nothing at {uri}; check the URI, or run the step that writes it.")
    for file in files:
        download_file(join(uri, file.path), folder / file.path)


@contextmanager
def as_local_folder(uri: str) -> Iterator[Path]:
    """A local folder with the files of a URI: the folder itself where it is local, else a temporary copy."""
    path = local_path(uri)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="sphinx-x-") as folder:
        download_tree(uri, Path(folder))
        yield Path(folder)


def sha256_of(path: Path) -> str:
    """sha256 of a local file, as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(folder_uri: str) -> None:
    """Find out in seconds whether files can be written below a URI; what a long run should know before it starts.

    Raises:
        StorageError: they cannot, and why.
    """
    probe = join(folder_uri, f".write-check-{uuid.uuid4().hex[:8]}")
    with explained("write", folder_uri):
        if not folder_uri.startswith("s3://"):
            write_bytes(probe, b"")
            delete_tree(probe)
            return
        bucket, key = bucket_and_key(probe)
        hasty = new_s3_client(max_attempts=2, timeout_seconds=5)
        hasty.put_object(Bucket=bucket, Key=key, Body=b"")
        hasty.delete_object(Bucket=bucket, Key=key)


def _open_filesystem(uri: str) -> tuple[Any, str]:
    options: dict[str, Any] = {"use_listings_cache": False} if uri.startswith("s3://") else {}
    return fsspec.core.url_to_fs(uri, **options)


def _copy_whole(source: Path, target: Path) -> None:
    with open(source, "rb") as reader, _temporary_beside(target) as (file, temporary):
        while block := reader.read(1 << 22):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, target)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[tuple[Any, str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by mkstemp, whose files are the owner's alone: a store is shared, the umask decides.
    temporary = str(path.parent / f".{path.name}.{uuid.uuid4().hex}.part")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, temporary
    finally:
        Path(temporary).unlink(missing_ok=True)
