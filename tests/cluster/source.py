"""The working tree's code laid over an image, for those who change code and test it on a cluster without building images each time.

SPHINX_X_TEST_SOURCE=1 switches it on; without it the tests see what the images hold, which is what counts.
"""

import base64
import io
import os
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.support import apply

ROOT = Path(__file__).parents[2]
PLACE = "/source"


def with_source(namespace: str, pod_spec: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec whose first container runs the working tree's packages, if that is switched on; else as it was."""
    if not os.environ.get("SPHINX_X_TEST_SOURCE"):
        return pod_spec
    apply(
        namespace,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source"}, "binaryData": {"source.tar.xz": _packed()}},
    )
    container = pod_spec["containers"][0]
    mount = {"name": "source", "mountPath": PLACE}
    unpack = {
        "name": "source",
        "image": container["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", f"import tarfile; tarfile.open('/packed/source.tar.xz').extractall('{PLACE}')"],
        "securityContext": container["securityContext"],
        "volumeMounts": [mount, {"name": "packed", "mountPath": "/packed"}],
    }
    pod_spec["initContainers"] = [unpack]
    pod_spec["volumes"] += [{"name": "source", "emptyDir": {}}, {"name": "packed", "configMap": {"name": "source"}}]
    container["volumeMounts"] = [*container["volumeMounts"], mount]
    container["env"] = [*container.get("env", []), {"name": "PYTHONPATH", "value": PLACE}]
    return pod_spec


def _packed() -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for room in ("model", "components", "pipelines"):
            tar.add(ROOT / room, room, filter=lambda one: None if "__pycache__" in one.name else one)
    return base64.b64encode(packed.getvalue()).decode()
