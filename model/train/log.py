"""The run's log: `<run>/log.jsonl`, a JSON object a logged step, in step order, without gaps and without doubles.

Rows tile the run: each covers the `window_steps` steps up to `step`. On restore the log is cut to the restored step, and what was
summed up since its last row comes back with the checkpoint. On a disk rows are appended; in object storage, which cannot append,
the file is written anew every few seconds and before a checkpoint is committed.
"""

import json
import time
from typing import Any

from model import storage
from model.errors import SphinxError
from model.train.spec import LOG_FILE

REWRITE_SECONDS = 10.0


def read_log(run_uri: str) -> list[dict[str, Any]]:
    """Rows of a run's log, without a line that a kill has torn; none where there is no log yet."""
    uri = storage.join(run_uri, LOG_FILE)
    if not storage.exists(uri):
        return []
    rows = []
    for line in storage.read_text(uri).splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class RunLog:
    """Written by rank 0 alone.

    Args:
        restored_step: Steps done; later rows belong to work that is done again and are dropped.
    """

    def __init__(self, run_uri: str, restored_step: int) -> None:
        self.uri = storage.join(run_uri, LOG_FILE)
        self._path = storage.local_path(self.uri)
        self._lines = [_line(row) for row in read_log(run_uri) if row["step"] <= restored_step]
        storage.write_text(self.uri, "".join(self._lines))
        self._written = time.monotonic()

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        line = _line(row)
        if self._path is not None:
            try:
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise SphinxError(f"cannot write {self._path}: {error.strerror}; free some space and run again.") from error
            return
        self._lines.append(line)
        if time.monotonic() - self._written > REWRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make sure that all rows are stored."""
        if self._path is None:
            storage.write_text(self.uri, "".join(list(self._lines)))
            self._written = time.monotonic()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
