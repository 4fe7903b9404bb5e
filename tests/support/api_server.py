"""A few lines of HTTP in the place of a Kubernetes API server, for what a real one does not do on demand."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from components.shared.kubernetes_client import Kubernetes

Answer = Callable[[BaseHTTPRequestHandler, str, dict[str, str]], None]


@contextmanager
def server(answer: Answer) -> Iterator[Kubernetes]:
    """An API server that does as told."""
    from kubernetes import client

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlparse(self.path)
            answer(self, address.path, {name: values[0] for name, values in parse_qs(address.query).items()})

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads, http.block_on_close = True, False
    threading.Thread(target=http.serve_forever, daemon=True).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield Kubernetes(client.ApiClient(configuration))
    finally:
        http.shutdown()
        http.server_close()


def reply(handler: BaseHTTPRequestHandler, body: dict | str, status: int = 200) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
