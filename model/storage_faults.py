"""Why a file cannot be read or written, in one sentence for a person; the one place that knows the libraries' exceptions."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model.errors import StorageError

_REMEDIES: tuple[tuple[Callable[[BaseException], bool], str], ...] = (
    (lambda error: isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT), "the disk is full; free some space and run again"),
    (lambda error: isinstance(error, FileNotFoundError), "it does not exist; check the path"),
    (lambda error: isinstance(error, PermissionError), "permission is denied; check the credentials and the owner"),
    (lambda error: isinstance(error, (IsADirectoryError, NotADirectoryError)), "a file stands where a folder should be, or the reverse"),
    (lambda error: isinstance(error, ImportError), "its scheme needs a package that is not installed; run: pip install 'sphinx-x[s3]' for s3://"),
    (lambda error: "NoSuchBucket" in str(error), "the bucket does not exist; create it or check its name"),
    (lambda error: "Credentials" in type(error).__name__, "there are no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (
        lambda error: "Connect" in type(error).__name__ or isinstance(error, ConnectionError),
        "the server does not answer; check AWS_ENDPOINT_URL and the network",
    ),
)  # fmt: skip


@contextmanager
def explained(verb: str, uri: str) -> Iterator[None]:
    """Turn any storage failure into one sentence that names the URI and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        chain: list[BaseException] = [error]
        while (below := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 6:
            chain.append(below)
        for known, remedy in _REMEDIES:
            if any(known(one) for one in chain):
                raise StorageError(f"cannot {verb} {uri}: {remedy}.") from error
        raise StorageError(
            f"cannot {verb} {uri}: {type(error).__name__}: {str(error)[:200]}; check the address and try again."
        ) from error
