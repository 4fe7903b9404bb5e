"""Kubeflow Trainer's progress callback: how far a run is, shown in its TrainJob's status.

Trainer 2.3 with the feature gate TrainJobStatus gives a pod an address, the path of a certificate and the path of a token. Rank 0
posts there from a thread of its own, at most every few seconds and always the newest row; where the environment is absent nothing
happens, and no answer, late answer or refusal reaches training.
"""

import json
import os
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

URL, CA_CERT, TOKEN = (f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "CA_CERT", "TOKEN"))
"""Names in the environment; the latter two hold paths of files."""
INTERVAL_SECONDS = 5.0
"""The controller asks for no more than one update in this time."""
TIMEOUT_SECONDS = 5.0
METRICS = ("loss", "learning_rate", "gradient_norm", "samples_per_second", "tokens_per_second", "mfu", "data_wait_share")
"""Fields of a log row that are told."""


class TrainerStatus:
    """Posts rows of the log; use it in a `with` block, which posts the last one.

    Args:
        environment: Where address, certificate and token are looked up.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._url = environment.get(URL)
        self._ca_cert, self._token = environment.get(CA_CERT), environment.get(TOKEN)
        self._interval_seconds = interval_seconds
        self._row: dict[str, Any] | None = None
        self._is_new, self._is_closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._post_all, name="trainer-status", daemon=True)

    def __enter__(self) -> "TrainerStatus":
        if self._url:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._is_new.set()
        if self._url:
            self._thread.join(2 * TIMEOUT_SECONDS)  # a post under way, and the last one

    def show(self, row: dict[str, Any]) -> None:
        """Note the newest row of the log; returns at once."""
        self._row = row
        self._is_new.set()

    def _post_all(self) -> None:
        while not self._is_closing.is_set():
            self._is_new.wait()
            self._is_new.clear()
            row, self._row = self._row, None
            if row is not None:
                self._post(status_of(row))
            self._is_closing.wait(self._interval_seconds)
        if self._row is not None:
            self._post(status_of(self._row))

    def _post(self, status: dict[str, Any]) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            if self._token:
                # Read anew each time: the kubelet exchanges a projected token long before a run ends.
                headers["Authorization"] = f"Bearer {Path(self._token).read_text(encoding='utf-8').strip()}"
            context = ssl.create_default_context(cafile=self._ca_cert) if self._ca_cert else None
            body = json.dumps({"trainerStatus": status}).encode()
            request = urllib.request.Request(str(self._url), data=body, headers=headers, method="POST")  # noqa: S310 (the cluster's own address)
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context):  # noqa: S310
                pass
        except Exception:
            return  # whatever the server does, training goes on; the next row tells more anyway


def status_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the log in the fields of TrainJob's `status.trainerStatus`."""
    return {
        "progressPercentage": min(100, int(100 * row["step"] / row["steps"])),
        "estimatedRemainingSeconds": max(0, int(row["seconds_left"])),
        "metrics": [{"name": name, "value": f"{row[name]:.6g}"} for name in METRICS if name in row],
        "lastUpdatedTime": datetime.now(UTC).isoformat(),
    }
