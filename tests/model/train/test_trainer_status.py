"""Progress reaches a real server over TLS, seldom, newest first and last row surely; a bad server never delays a run."""

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from model.train import trainer_status
from model.train.trainer_status import CA_CERT, TOKEN, URL, TrainerStatus, status_of

ROW = {"step": 30, "steps": 120, "seconds_left": 61.7, "loss": 1.25, "learning_rate": 2e-5, "gradient_norm": 0.5, "time": 1.0}


class Controller:
    """An HTTPS server that keeps what is posted to it."""

    def __init__(self, folder: Path, answer: int = 200, delay_s: float = 0.0) -> None:
        self.posts: list[tuple[float, str, dict[str, Any]]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                posts.append((time.monotonic(), self.headers.get("Authorization", ""), body))
                time.sleep(delay_s)
                self.send_response(answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        key, certificate = folder / "key.pem", folder / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), "-out",
             str(certificate), "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        (folder / "token").write_text("secret\n")
        self.environment = {
            URL: f"https://localhost:{self.server.server_port}/apis/trainjobs/mine/status",
            CA_CERT: str(certificate),
            TOKEN: str(folder / "token"),
        }


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = Controller(tmp_path)
    yield made
    made.server.shutdown()


def wait_for(controller: Controller, posts: int) -> None:
    deadline = time.monotonic() + 30
    while len(controller.posts) < posts:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_row_is_posted_as_the_trainjob_s_status_with_the_pod_s_token(controller):
    with TrainerStatus(controller.environment) as status:
        status.show(ROW)
        wait_for(controller, 1)
    ((_, authorization, body),) = controller.posts
    assert authorization == "Bearer secret"
    sent = body["trainerStatus"]
    assert (sent["progressPercentage"], sent["estimatedRemainingSeconds"]) == (25, 61)
    assert {"name": "loss", "value": "1.25"} in sent["metrics"]
    assert all(set(metric) == {"name", "value"} and isinstance(metric["value"], str) for metric in sent["metrics"])


def test_posts_keep_their_distance_and_the_last_row_is_always_told(controller):
    with TrainerStatus(controller.environment, interval_seconds=0.5) as status:
        for step in range(1, 101):
            status.show(ROW | {"step": step, "steps": 100})
            time.sleep(0.01)
    times = [when for when, _, _ in controller.posts]
    shown = [body["trainerStatus"]["progressPercentage"] for _, _, body in controller.posts]
    assert shown == sorted(shown)
    assert shown[-1] == 100
    assert len(times) <= 6
    assert all(later - earlier > 0.4 for earlier, later in pairwise(times[:-1]))  # the last one waits for nothing


def test_no_environment_means_no_thread_and_no_post(controller):
    before = threading.active_count()
    with TrainerStatus({}) as status:
        status.show(ROW)
        assert threading.active_count() == before
    assert controller.posts == []


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "is not there", "has another certificate", "has no token"])
def test_a_server_in_trouble_never_delays_or_ends_a_run(trouble, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_status, "TIMEOUT_SECONDS", 0.3)
    made = Controller(tmp_path, answer=500 if trouble == "refuses" else 200, delay_s=60 if trouble == "hangs" else 0)
    environment = dict(made.environment)
    if trouble == "is not there":
        environment[URL] = "https://localhost:1/status"
    if trouble == "has another certificate":
        del environment[CA_CERT]
    if trouble == "has no token":
        environment[TOKEN] = str(tmp_path / "nothing")
    with TrainerStatus(environment, interval_seconds=0.01) as status:
        began = time.monotonic()
        for _ in range(5):
            status.show(ROW)
            time.sleep(0.02)
        assert time.monotonic() - began < 1.0
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    made.server.shutdown()


def test_a_status_stays_within_bounds():
    status = status_of(ROW | {"step": 121, "seconds_left": -3.0})
    assert (status["progressPercentage"], status["estimatedRemainingSeconds"]) == (100, 0)
