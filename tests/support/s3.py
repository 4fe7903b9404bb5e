"""A real S3 server process over HTTP (moto), and a proxy before it that fails on demand, as networks do.

def test_x(s3): s3.uri("folder")                    # environment is set; boto3, s3fs and `model.storage` reach it
s3.faults.every(10, status=503)                     # every tenth request fails
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from model import storage, storage_s3

START_SECONDS = 60
"""A cold import of the server's packages on a busy machine takes some ten seconds."""


class Faults:
    """Which requests fail; the rest is passed on untouched."""

    def __init__(self) -> None:
        self.requests = 0
        self._every, self._status, self._matching, self._times = 0, 0, "", -1
        self._lock = threading.Lock()

    def every(self, number: int, status: int, matching: str = "", times: int = -1) -> None:
        """Fail each `number`-th request whose path contains `matching`.

        Args:
            status: HTTP status of the answer; 0 closes the connection without one, -1 after half of the body.
            times: after so many failures all is well again; -1 for ever.
        """
        with self._lock:
            self.requests, self._every, self._status, self._matching, self._times = 0, number, status, matching, times

    def clear(self) -> None:
        self.every(0, 0)

    def next_status(self, path: str) -> int | None:
        """None lets the request pass."""
        with self._lock:
            if not self._every or self._matching not in path:
                return None
            self.requests += 1
            if self.requests % self._every or self._times == 0:
                return None
            self._times -= 1
            return self._status


class S3:
    """A running server with one bucket."""

    def __init__(self, endpoint: str, bucket: str, faults: Faults) -> None:
        self.endpoint, self.bucket, self.faults = endpoint, bucket, faults

    def uri(self, *parts: str) -> str:
        return storage.join(f"s3://{self.bucket}", *parts)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Endpoint of one server process for the whole session."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A fresh bucket behind a fault-injecting proxy; the environment points to it."""
    faults = Faults()
    with _proxy(s3_server, faults) as endpoint:
        set_environment(monkeypatch, endpoint)
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        storage_s3.s3_client().create_bucket(Bucket=bucket)
        yield S3(endpoint, bucket, faults)
        faults.clear()
    forget_clients()


def set_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The variables that a user would set for a server of their own."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    forget_clients()


def forget_clients() -> None:
    """Clients are kept for a process's life; tests change the endpoint within one."""
    import s3fs

    storage_s3.s3_client.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


def _await(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the S3 server ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not answer within {START_SECONDS} s")


@contextlib.contextmanager
def _proxy(upstream: str, faults: Faults) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _pass_on(self) -> None:
            body = self._body()
            status = faults.next_status(self.path)
            if status is not None and status >= 0:
                self.close_connection = True
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.send_header("Connection", "close")
                    self.end_headers()
                return
            target = urlsplit(upstream)
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "connection")}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if status == -1:
                content, self.close_connection = content[: len(content) // 2], True
            self.wfile.write(content)
            connection.close()

        def _body(self) -> bytes:
            if self.headers.get("Expect", "").lower() == "100-continue":
                pass  # http.server has answered it already
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                pieces = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _pass_on

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


NO_PROXY = {"NO_PROXY": "127.0.0.1,localhost"}
os.environ.update({name: os.environ.get(name, value) for name, value in NO_PROXY.items()})
