"""Finding and opening raw files: candidates of a layout, JSON of any size, paths that stay in their folder."""

import codecs
import io
import json
import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

import fsspec

from model import storage
from model.errors import DataError, StorageError

MAX_SMALL_FILE_BYTES = 64 << 20
"""Files that are read whole: text of one picture, one JSON record."""
_MAX_VALUE_CHARS = 64 << 20
_CHUNK_BYTES = 1 << 20
_DECODER = json.JSONDecoder()
_AFTER_VALUE = tuple(",:]} \t\r\n")


def find_file(root: str, candidates: Iterable[str], what: str) -> str:
    """The URI of the first candidate below `root` that exists.

    Raises:
        DataError: none does; names where was looked.
    """
    looked = list(dict.fromkeys(candidates))
    for candidate in looked:
        if storage.exists(uri := storage.join(root, candidate)):
            return uri
    raise DataError(
        f"no {what} below {root}: looked for {', '.join(looked)}; check root and split, or name the file in options."
    )


def find_folder(root: str, candidates: Iterable[str], what: str) -> str:
    """The URI of the first candidate folder below `root` that exists; an empty candidate is `root` itself."""
    looked = list(dict.fromkeys(candidates))
    for candidate in looked:
        uri = root.rstrip("/") if candidate in ("", ".") else storage.join(root, candidate)
        if storage.exists(uri):
            return uri
    raise DataError(
        f"no folder of {what} below {root}: looked for {', '.join(one or 'itself' for one in looked)}; check root, or name it in options."
    )


def stay_inside(folder_uri: str, relative: str) -> str | None:
    """The URI of a file that a raw record names; None where the name leads out of the folder or is no name."""
    path = posixpath.normpath(relative.replace("\\", "/"))
    if not relative.strip() or path.startswith(("/", "..")) or "://" in relative or "\0" in relative or path == ".":
        return None
    return storage.join(folder_uri, path)


@contextmanager
def open_stream(uri: str) -> Iterator[BinaryIO]:
    """Open a raw file for reading from its beginning.

    Raises:
        StorageError: it cannot be opened.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        opened = filesystem.open(path, "rb")
    except Exception as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {str(error)[:160]}"
        raise StorageError(f"cannot read {uri}: {reason}; check the path.") from error
    # fsspec's own files cannot read a line up to a limit.
    with io.BufferedReader(opened, _CHUNK_BYTES) as stream:
        yield stream


def read_small(uri: str) -> bytes:
    """The whole content of a file of at most 64 MiB.

    Raises:
        DataError: it is larger.
    """
    with open_stream(uri) as stream:
        data = stream.read(MAX_SMALL_FILE_BYTES + 1)
    if len(data) > MAX_SMALL_FILE_BYTES:
        raise DataError(f"{uri} is larger than {MAX_SMALL_FILE_BYTES >> 20} MiB; this is no file of the layout.")
    return data


def decode_text(data: bytes) -> tuple[str, bool]:
    """Text of unknown encoding: UTF-8 with or without a byte order mark, else Latin-1; and whether it was UTF-8."""
    try:
        return data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return data.decode("latin-1"), False


def json_lines(uri: str) -> Iterator[tuple[int, Any]]:
    """Line number (from 0) and value of each line of a JSONL file; a line that is no JSON gives `MALFORMED`."""
    with open_stream(uri) as stream:
        number = 0
        while line := stream.readline(_MAX_VALUE_CHARS + 1):
            if len(line) > _MAX_VALUE_CHARS:
                raise DataError(f"{uri}: line {number + 1} is longer than {_MAX_VALUE_CHARS >> 20} MiB; is this JSONL?")
            if line.strip():
                try:
                    yield number, json.loads(line.decode("utf-8-sig" if number == 0 else "utf-8"))
                except (ValueError, RecursionError):
                    yield number, MALFORMED
            number += 1


MALFORMED = object()
"""Stands for a row that is no JSON."""


def json_rows(uri: str) -> Iterator[tuple[str, Any]]:
    """Stream a JSON file of any size: (key, element) of each array in a top-level object, ("", element) of a top-level array.

    Only one element lies in memory at a time; values of the object that are no arrays come as (key, value).

    Raises:
        DataError: the file is no JSON, with the position; an element is larger than 64 Mi characters.
    """
    with open_stream(uri) as stream:
        scanner = _Scanner(stream, uri)
        opening = scanner.take()
        if opening == "[":
            yield from (("", element) for element in scanner.elements())
        elif opening == "{":
            yield from _object_rows(scanner)
        else:
            scanner.fail("it begins with neither { nor [")
        if scanner.peek():
            scanner.fail("something follows after its end")


def _object_rows(scanner: "_Scanner") -> Iterator[tuple[str, Any]]:
    if scanner.peek() == "}":
        scanner.take()
        return
    while True:
        if scanner.peek() != '"':
            scanner.fail("a key is missing")
        key = str(scanner.value())
        if scanner.take() != ":":
            scanner.fail(f"no colon after {key[:40]!r}")
        if scanner.peek() == "[":
            scanner.take()
            for element in scanner.elements():
                yield key, element
        else:
            yield key, scanner.value()
        mark = scanner.take()
        if mark == "}":
            return
        if mark != ",":
            scanner.fail(f"no comma after {key[:40]!r}")


class _Scanner:
    """Cuts a stream of JSON text into values without holding more than one of them."""

    def __init__(self, stream: BinaryIO, uri: str) -> None:
        self._stream = stream
        self._uri = uri
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._position = 0
        self._dropped_chars = 0
        self._ended = False

    def fail(self, problem: str, cause: Exception | None = None) -> NoReturn:
        raise DataError(
            f"{self._uri} is not whole JSON: {problem}, near character {self._dropped_chars + self._position}; "
            "download or write the file again."
        ) from cause

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._position < len(self._text):
                if (character := self._text[self._position]) not in " \t\r\n":
                    return character
                self._position += 1
            if not self._read_more(_CHUNK_BYTES):
                return ""

    def take(self) -> str:
        character = self.peek()
        self._position += 1
        return character

    def value(self) -> Any:
        self.peek()
        size = _CHUNK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
                # A number at the end of the buffer may go on in the next piece: "2" or "2." may become 2.5.
                length = end - self._position
                if self._text[end : end + 1] in _AFTER_VALUE or not self._read_more(size):
                    self._position += length
                    return value
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._position > _MAX_VALUE_CHARS or not self._read_more(size):
                    self.fail(f"{type(error).__name__} {str(error)[:80]}", error)
            size *= 2

    def elements(self) -> Iterator[Any]:
        """The elements of an array whose bracket was taken."""
        if self.peek() == "]":
            self.take()
            return
        while True:
            yield self.value()
            mark = self.take()
            if mark == "]":
                return
            if mark != ",":
                self.fail("no comma between two elements")

    def _read_more(self, size_bytes: int) -> bool:
        if self._ended:
            return False
        data = self._stream.read(size_bytes)
        self._ended = not data
        try:
            piece = self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            self.fail("it is not UTF-8", error)
        self._dropped_chars += self._position
        self._text = self._text[self._position :] + piece
        self._position = 0
        return not self._ended or bool(piece)


def list_top(root: str) -> list[str]:
    """Names of the files that lie directly in a folder, sorted, hidden ones left out.

    Raises:
        StorageError: the folder does not exist.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(root)
        entries = filesystem.ls(path, detail=True)
    except Exception as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {str(error)[:160]}"
        raise StorageError(f"cannot list {root}: {reason}; check the path.") from error
    names = [str(entry["name"]).rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]
    return sorted(name for name in names if not name.startswith("."))
