"""A release of the chart on the tests' cluster, step by step, and what it leaves behind."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.support import kubectl
from tests.helm.rendering import helm_binary

RELEASE = "sphinx-x"
WEBHOOK_TRIES = 4
READY_SECONDS = 420
"""For the small MLflow on a busy machine: two starts of Python with all of MLflow, one after the other."""


def helm(*arguments: str, values: dict[str, Any] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm; its output is the message of a failure. On a busy machine Trainer's webhook may be away for a moment: again, then."""
    with tempfile.TemporaryDirectory() as folder:
        given = []
        if values is not None:
            file = Path(folder, "values.yaml")
            file.write_text(yaml.safe_dump(values))
            given = ["--values", str(file)]
        for _ in range(WEBHOOK_TRIES):
            done = subprocess.run(
                [helm_binary(build=True), *arguments, *given], capture_output=True, text=True, timeout=READY_SECONDS + 60
            )
            if "failed calling webhook" not in done.stderr:
                break
            time.sleep(20)
    assert done.returncode == 0 or not check, f"helm {' '.join(arguments)}: {done.stderr}\n{done.stdout}"
    return done


def everything_in(namespace: str) -> set[str]:
    """Kind and name of all objects, and of those of the whole cluster that name the namespace; events and leases come by themselves."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    lasting = [kind for kind in kinds if not kind.startswith(("events", "podmetrics", "endpointslices"))]
    found = kubectl("-n", namespace, "get", ",".join(lasting), "-o", "name", "--ignore-not-found").split()
    roles = kubectl("get", "clusterrole,clusterrolebinding,persistentvolume", "-o", "json")
    mine = [item for item in json.loads(roles)["items"] if namespace in json.dumps(item)]
    return {*found, *(f"{item['kind']}/{item['metadata']['name']}" for item in mine)}
