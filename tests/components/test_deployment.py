"""docs/deployment.md keeps its word: its webhook and its receiver, as they stand there, with a real MLflow server."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from components.promote import logic as promote
from components.shared.mlflow_client import open_client
from model.contracts.release import Tag
from tests.support.s3 import free_port

GUIDE = (Path(__file__).parents[2] / "docs/deployment.md").read_text()
WEBHOOK, RECEIVER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def receiver(tmp_path):
    """The guide's receiver, which appends each model to a file; yields its address and that file."""
    port, heard = free_port(), tmp_path / "heard"
    (tmp_path / "receiver.py").write_text(RECEIVER)
    command = [sys.executable, str(tmp_path / "receiver.py"), "sh", "-c", f'echo "$SPHINX_X_MODEL" >> {heard}']
    env = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": "only for this test"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/promoted", heard
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def posted(address: str, body: bytes, headers: dict[str, str]) -> int:
    for _ in range(100):
        try:
            with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:  # it has not started yet
            time.sleep(0.1)
    raise TimeoutError(address)


def test_a_promotion_reaches_the_receiver_and_nothing_unsigned_does(receiver, mlflow_server, monkeypatch, tmp_path):
    address, heard = receiver
    forged = b'{"data": {"name": "deployed", "alias": "champion", "version": "1"}}'
    now = {"X-MLflow-Timestamp": str(int(time.time())), "X-MLflow-Delivery-Id": "1", "X-MLflow-Signature": "v1,AAAA"}
    assert posted(address, forged, now) == 403
    assert posted(address, forged, {}) == 403

    (tmp_path / "secret").write_text("only for this test\n")
    code = WEBHOOK.replace("http://mlflow.mlflow.svc:5000", mlflow_server).replace(
        "https://deploy.example.org/promoted", address
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    client = open_client()  # before the guide's code, which takes the registry that this process used last
    exec(compile(code.replace("/run/secrets/webhook", str(tmp_path / "secret")), "docs/deployment.md", "exec"), {})
    client.create_registered_model("deployed")
    tags = {Tag.GATE: "open", Tag.GATE_CHAMPION: ""}
    version = str(client.create_model_version("deployed", "s3://somewhere/model", tags=tags).version)
    client.set_registered_model_alias("deployed", "candidate", version)
    promote.run("deployed", version)
    deadline = time.monotonic() + 30
    while not heard.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert heard.read_text() == f"models:/deployed/{version}\n"
