"""The way to Kubeflow Pipelines: what is said where nobody answers, or somebody else does."""

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines.cluster.config import KubeflowAddress
from pipelines.cluster.connection import Connection, KubeflowError, Server


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in ("KFP_ENDPOINT", "KFP_TOKEN", "KFP_NAMESPACE", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Page(BaseHTTPRequestHandler):
    """What a login proxy answers to anybody; remembers the headers that it was shown."""

    status, body, seen = 200, b"<html><title>Log in to Kubeflow</title></html>", []

    def do_GET(self):
        type(self).seen.append(self.headers)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def page() -> Iterator[type[Page]]:
    """A web server that is no Kubeflow; its class, with `address`."""
    handler = type("OnePage", (Page,), {"seen": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler
    server.shutdown()


def test_nobody_there_is_told_with_the_way_to_open_one():
    endpoint = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(
        KubeflowError, match=f"does not answer at {endpoint}.*kubectl -n ml port-forward svc/ml-pipeline 8888:8888"
    ):
        Connection.open(endpoint, "ml").server()


def test_without_any_way_the_sentence_names_both():
    with pytest.raises(KubeflowError, match="give --endpoint or KFP_ENDPOINT, or a kubeconfig"):
        Connection.open()


def test_an_endpoint_that_is_no_url():
    with pytest.raises(KubeflowError, match="is no URL; write http://host:8888"):
        Connection.open("ml-pipeline:8888")


def test_a_login_page_is_not_taken_for_kubeflow(page):
    with pytest.raises(KubeflowError, match="is not Kubeflow Pipelines' API.*perhaps a login page"):
        Connection.open(page.address).server()


@pytest.mark.parametrize(("status", "words"), [(401, "refuses this user"), (403, "KFP_TOKEN"), (502, "failed \\(502")])
def test_a_refusal_names_its_remedy(page, status, words):
    page.status = status
    with pytest.raises(KubeflowError, match=words) as refused:
        Connection.open(page.address).server()
    assert refused.value.status == status


def test_the_token_is_read_again_before_each_request(page, tmp_path):
    file = tmp_path / "token"
    file.write_text("one\n")
    connection = Connection.open(page.address, address=KubeflowAddress(token_file=str(file)))
    for token in ("one", "two"):
        file.write_text(token)
        with pytest.raises(KubeflowError):
            connection.server()
        assert page.seen[-1]["Authorization"] == f"Bearer {token}"
    file.unlink()
    with pytest.raises(KubeflowError, match="cannot be read"):
        Connection.open(page.address, address=KubeflowAddress(token_file=str(file)))


def test_a_starting_server_is_waited_for_and_a_refusal_is_not(page):
    page.status = 403
    with pytest.raises(KubeflowError, match="refuses"):
        Connection.open(page.address).wait_until_ready(60)
    with pytest.raises(KubeflowError, match="does not answer"):
        Connection.open(f"http://127.0.0.1:{closed_port()}").wait_until_ready(0)


@pytest.mark.parametrize(
    ("version", "too_old"),
    [("2.17.0", False), ("2.16.0", False), ("2.15.3", True), ("1.8.22", True), ("", False), ("3.0", False)],
)
def test_a_version_too_old_for_closed_choices(version, too_old):
    assert Server(version, False).is_too_old is too_old


def test_an_old_kubeflow_that_cannot_read_the_pipeline_is_named():
    sentence = str(Connection.open("http://x").refusal(400, "unknown template format"))
    assert "older than 2.16, which this project needs: update it" in sentence


def test_without_the_client_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "kfp_server_api", None)
    with pytest.raises(KubeflowError, match=r"pip install 'sphinx-x\[cluster\]'"):
        Connection.open("http://x")
