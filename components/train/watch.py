"""A kind of objects on a cluster, kept up to date in the background: list, watch, resume, and list again where that fails."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from components.shared.kubernetes_client import Kubernetes, KubernetesError
from model.errors import SphinxError

WATCH_SECONDS = 300
"""After this long the server ends a watch; the next one goes on where it ended."""
SILENCE_SECONDS = 60.0
"""The server sends a bookmark about once a minute, and a broken connection nothing: longer silence is a new watch."""
LONGEST_WAIT_SECONDS = 30.0
RELIST_SECONDS = 0.2
GONE_KEPT = 256
"""Deleted objects that are remembered: how a pod ended is asked after JobSet has removed it."""


class Watched:
    """Objects of one kind under a selector; use it in a `with` block.

    Args:
        kube: The API.
        path: The kind's path in a namespace.
        changed: Called from the background after every change.
        selector: `labelSelector` or `fieldSelector` of the list.
    """

    def __init__(self, kube: Kubernetes, path: str, changed: Callable[[], None], **selector: str) -> None:
        self._kube, self._path, self._changed, self._selector = kube, path, changed, selector
        self._objects: dict[str, dict[str, Any]] = {}
        self._gone: deque[dict[str, Any]] = deque(maxlen=GONE_KEPT)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"watch {path.rpartition('/')[2]}", daemon=True)
        self.is_listed = threading.Event()
        """Whether the objects have been read once."""
        self.failure: SphinxError | None = None
        """What keeps it from reading them, while it does."""
        self.failing_since = 0.0

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # the thread ends with its next line; nobody waits for it

    def objects(self) -> list[dict[str, Any]]:
        """What is known now."""
        with self._lock:
            return list(self._objects.values())

    def gone(self) -> list[dict[str, Any]]:
        """The last that was known of objects that have been deleted, oldest first."""
        with self._lock:
            return list(self._gone)

    def _work(self) -> None:
        wait = 1.0
        version = ""
        while not self._ended.is_set():
            try:
                if not version:
                    version = self._list()
                for reached in self._watch(version):
                    version, wait = reached, 1.0
                    self._went_well()
            except SphinxError as error:
                if isinstance(error, KubernetesError) and error.status == 410:
                    version = ""  # too old to go on from
                    self._ended.wait(RELIST_SECONDS)
                    continue
                self._went_wrong(error)
                self._ended.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)
                # What happened meanwhile may be forgotten by the server; a list is always right.
                version = ""

    def _list(self) -> str:
        answer = self._kube.get(self._path, **self._selector)
        with self._lock:
            self._objects = {one["metadata"]["uid"]: one for one in answer.get("items", [])}
        self._went_well()
        self.is_listed.set()
        self._changed()
        return answer["metadata"]["resourceVersion"]

    def _watch(self, version: str) -> Iterator[str]:
        """Take in changes until the server ends the watch; gives the version it may go on from after each."""
        query = {"watch": True, "resourceVersion": version, "allowWatchBookmarks": True, "timeoutSeconds": WATCH_SECONDS}
        # A first word, so that an answer without changes counts as one.
        with self._kube.lines(self._path, WATCH_SECONDS + SILENCE_SECONDS, **query, **self._selector) as lines:
            yield version
            for line in lines:
                if self._ended.is_set():
                    return
                kind, one = _event(line, self._path)
                if kind != "BOOKMARK":
                    with self._lock:
                        if kind == "DELETED":
                            self._objects.pop(one["metadata"]["uid"], None)
                            self._gone.append(one)
                        else:
                            self._objects[one["metadata"]["uid"]] = one
                    self._changed()
                yield one["metadata"]["resourceVersion"]

    def _went_well(self) -> None:
        self.failure, self.failing_since = None, 0.0

    def _went_wrong(self, error: SphinxError) -> None:
        self.failing_since = self.failing_since or time.monotonic()
        self.failure = error
        self._changed()


def _event(line: str, path: str) -> tuple[str, dict[str, Any]]:
    """Type and object of a line of a watch.

    Raises:
        KubernetesError: the server reports an error (410: the version is too old), or half a line.
    """
    try:
        event = json.loads(line)
        kind, one = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise KubernetesError(f"the watch of {path} broke off.") from error
    if kind == "ERROR":
        said = str(one.get("message", one))
        raise KubernetesError(f"the watch of {path} ended: {said}.", int(one.get("code", 500)), said)
    return kind, one
