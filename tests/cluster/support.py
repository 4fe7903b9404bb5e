"""Talking to a real Kubernetes from a test: pods under the strictest profile, bounded waits, ways to Services.

logs = run_pod(namespace, pod("echo", OPS_IMAGE, ["python", "-c", "print(1)"]))
wait_for(lambda: job_is_done(), seconds=60, what="the job")
address = reach(S3_SERVICE)                        # http://10.96.1.2:9000, or a port on loopback behind `kubectl port-forward`
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

# What the cluster must offer; the development cluster's by default (infra/devcluster/README.md).
S3_SERVICE = os.environ.get("SPHINX_X_TEST_S3_SERVICE", "sphinx-x-services/s3:9000")
"""Namespace, name and port of a Service that speaks S3."""
S3_SECRET = os.environ.get("SPHINX_X_TEST_S3_SECRET", "sphinx-x-services/s3")
"""Namespace and name of the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for it."""
S3_BUCKET = os.environ.get("SPHINX_X_TEST_S3_BUCKET", "sphinx-x")
MLFLOW_SERVICE = os.environ.get("SPHINX_X_TEST_MLFLOW_SERVICE", "sphinx-x-services/mlflow:5000")
OPS_IMAGE = os.environ.get("SPHINX_X_TEST_OPS_IMAGE", "localhost/sphinx-x-ops:dev")
TRAIN_IMAGE = os.environ.get("SPHINX_X_TEST_TRAIN_IMAGE", "localhost/sphinx-x-train:dev")

POD_SECONDS = 240
"""From creation to end of a pod that does little: the first import of large packages on a busy machine takes long."""


def kubectl(*arguments: str, stdin: str | dict | None = None, check: bool = True, seconds: float = 120) -> str:
    """Standard output of one call; a dictionary as `stdin` goes in as JSON.

    Raises:
        AssertionError: it failed; the message is what kubectl said.
    """
    given = json.dumps(stdin) if isinstance(stdin, dict) else stdin
    done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def apply(namespace: str, *objects: dict) -> None:
    """Create or change objects, in this order."""
    for item in objects:
        kubectl("apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-", stdin=item)


def get(namespace: str, kind: str, name: str) -> dict[str, Any] | None:
    """An object as the API server has it; None where there is none."""
    found = kubectl("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
    return json.loads(found) if found.strip() else None


def wait_for(condition: Callable[[], T | None], seconds: float, what: str, every: float = 0.5) -> T:
    """The condition's first true value.

    Raises:
        TimeoutError: there was none within the time.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return value


def pod(name: str, image: str, command: list[str], **container: Any) -> dict[str, Any]:
    """A pod that the restricted profile lets in: another user than root, nothing writable but /tmp.

    Args:
        container: more fields of the only container, such as `env`, `envFrom`, `args`, `resources`.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    **container,
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


@dataclass(frozen=True)
class Ended:
    """How a pod's first container ended."""

    exit_code: int
    logs: str
    message: str
    """What it wrote to its termination log."""


STUCK = {"ErrImageNeverPull", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"}
STUCK_SECONDS = 60
"""The kubelet tries again: on a busy machine a Secret or ConfigMap may reach it a moment after the pod."""


def end_of_pod(namespace: str, name: str, seconds: float = POD_SECONDS) -> Ended:
    """Waits for a pod's end; a pod that cannot start (no image, a forbidden volume) is named with its reason.

    Raises:
        TimeoutError: it has not ended within the time.
    """

    stuck_since: float | None = None

    def terminated() -> dict | None:
        nonlocal stuck_since
        status = (get(namespace, "pod", name) or {}).get("status", {})
        states = [entry["state"] for entry in status.get("containerStatuses", [])]
        stuck = [state["waiting"] for state in states if state.get("waiting", {}).get("reason", "") in STUCK]
        stuck_since = (stuck_since or time.monotonic()) if stuck else None
        assert stuck_since is None or time.monotonic() - stuck_since < STUCK_SECONDS, (
            f"pod {namespace}/{name} cannot start: {stuck[-1].get('reason')}: {stuck[-1].get('message')}"
        )
        return next((state["terminated"] for state in states if "terminated" in state), None)

    state = wait_for(terminated, seconds, f"end of pod {namespace}/{name}")
    return Ended(state["exitCode"], kubectl("-n", namespace, "logs", name), state.get("message", ""))


def run_pod(namespace: str, spec: dict[str, Any], seconds: float = POD_SECONDS, expect: int | None = 0) -> str:
    """Creates a pod, waits for its end, deletes it.

    Args:
        expect: exit code that it must have; None for any.
    Returns:
        Its logs.
    """
    name = spec["metadata"]["name"]
    kubectl("-n", namespace, "create", "-f", "-", stdin=spec)
    try:
        ended = end_of_pod(namespace, name, seconds)
    finally:
        kubectl("-n", namespace, "delete", "pod", name, "--ignore-not-found", "--timeout=60s")
    assert expect in (None, ended.exit_code), (
        f"pod {name} ended with {ended.exit_code}, not {expect}: {ended.message}\n{ended.logs[-4000:]}"
    )
    return ended.logs


def inside(service: str) -> str:
    """Address of `<namespace>/<name>:<port>` for pods."""
    namespace, _, rest = service.partition("/")
    name, _, port = rest.partition(":")
    return f"http://{name}.{namespace}.svc:{port}"


_reached: dict[str, str] = {}


def reach(service: str) -> str:
    """Address of `<namespace>/<name>:<port>` for this process: the Service's own inside of a cluster's network, else a forwarded port."""
    if service not in _reached:
        namespace, _, rest = service.partition("/")
        name, _, port = rest.partition(":")
        found = get(namespace, "service", name)
        assert found, f"the cluster has no Service {namespace}/{name}; infra/devcluster/README.md says what tests need"
        # Not found out by connecting: a gateway of this machine's network may answer for any address.
        inside_network = "SPHINX_X_DEVCLUSTER" in os.environ or "KUBERNETES_SERVICE_HOST" in os.environ
        _reached[service] = (
            f"http://{found['spec']['clusterIP']}:{port}" if inside_network else _forwarded(namespace, name, port)
        )
    return _reached[service]


def _forwarded(namespace: str, name: str, port: str) -> str:
    """`kubectl port-forward` in the background until this process ends; anew when its pod has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = free.getsockname()[1]
    loop = 'while true; do kubectl -n "$0" port-forward "service/$1" "$2"; sleep 0.3; done'
    process = subprocess.Popen(
        ["sh", "-c", loop, namespace, name, f"{here}:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    atexit.register(os.killpg, process.pid, signal.SIGKILL)
    wait_for(lambda: _answers("127.0.0.1", here), seconds=30, what=f"port-forward to {namespace}/{name}")
    return f"http://127.0.0.1:{here}"


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def why_no_cluster() -> str | None:
    """One sentence where there is none to test on."""
    if not os.environ.get("KUBECONFIG"):
        return "no KUBECONFIG: `make test-cluster` starts the development cluster and runs these tests in it (Linux, root, Go)"
    if not shutil.which("kubectl"):
        return "kubectl is not on PATH"
    return None
