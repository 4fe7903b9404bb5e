"""boto3's side of storage: one client a process, large files in parts. Settings come from the environment, as `storage.py` says."""

import functools
from typing import Any

from model.errors import StorageError


@functools.lru_cache(maxsize=1)
def s3_client() -> Any:
    """One boto3 client a process, with retries for throttling and lost connections."""
    return new_s3_client(max_attempts=8, timeout_seconds=60)


def new_s3_client(max_attempts: int, timeout_seconds: int) -> Any:
    """A client that gives up after so many tries, each of so many seconds.

    Raises:
        StorageError: boto3 is not installed.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise StorageError("s3:// needs boto3, which is not installed; run: pip install 'sphinx-x[s3]'") from error
    retries = {"max_attempts": max_attempts, "mode": "standard"}
    return boto3.client(
        "s3", config=Config(retries=retries, connect_timeout=min(10, timeout_seconds), read_timeout=timeout_seconds)
    )


def transfer_config() -> Any:
    """Files from 16 MB on travel in parts, eight at a time."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=8)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
