"""One task of the compiled pipeline as a pod: its image, its very command, and around it what KFP's launcher does.

The launcher (backend/src/v2/component/launcher_v2.go of KFP 2.17.0) downloads input artifacts, makes the folders of outputs, puts
the executor input into the arguments, runs the command as its child, and uploads what was written. A few lines of Python in the
pod do the same; the pod is stricter than KFP's own, since its root file system is read-only.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from components import images
from tests.cluster.conftest import S3
from tests.cluster.support import OPS_IMAGE, TRAIN_IMAGE, pod, run_pod

COMPILED = Path(__file__).parents[2] / "pipelines/compiled"
IMAGES = {images.OPS: OPS_IMAGE, images.TRAIN: TRAIN_IMAGE}
OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"
SERVICE_ACCOUNT = "pipeline-runner"
"""Name of the account of pipeline pods in a stock single-user install."""

STAND_IN = """
import json, os, subprocess, sys
import boto3
from botocore.config import Config

given, command = json.loads(sys.argv[1]), sys.argv[2:]
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))

def place(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    path = f"/s3/{bucket}/{key}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path, bucket, key

for uri in given["inputs"]:
    path, bucket, key = place(uri)
    s3.download_file(bucket, key, path)
for path in given["files"]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
outputs = [place(uri) for uri in given["outputs"]]
if subprocess.call(command) != 0:
    sys.exit(1)
for path, bucket, key in outputs:
    if os.path.exists(path):
        s3.upload_file(path, bucket, key)
_, bucket, key = place(given["executor_output"])
s3.upload_file(given["files"][0], bucket, key)
"""


@dataclass(frozen=True)
class Artifact:
    """What a task wrote, and what it said of it."""

    runtime: dict[str, Any]
    content: bytes

    @property
    def metadata(self) -> dict[str, Any]:
        return self.runtime["metadata"]


@dataclass(frozen=True)
class Ran:
    """A task that has succeeded."""

    parameters: dict[str, Any]
    artifacts: dict[str, Artifact]
    logs: str


class Launcher:
    """Runs tasks of the compiled pipeline in a namespace.

    Args:
        run_id: What `dsl.PIPELINE_JOB_ID_PLACEHOLDER` stands for.
        pipeline: Name of the compiled pipeline.
    """

    def __init__(self, namespace: str, s3: S3, run_id: str, pipeline: str = "sphinx-x-train") -> None:
        self.namespace, self.s3, self.run_id, self.pipeline = namespace, s3, run_id, pipeline

    @cached_property
    def _documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        specification, platform = yaml.safe_load_all((COMPILED / f"{self.pipeline}.yaml").read_text(encoding="utf-8"))
        return specification, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def run(
        self,
        task: str,
        parameters: dict[str, Any],
        artifacts: dict[str, Artifact] | None = None,
        item: str = "",
        expect: int = 0,
        seconds: float = 300,
    ) -> Ran:
        """Run a task to its end.

        Args:
            parameters: Its inputs, as JSON has them.
            artifacts: Its input artifacts.
            item: Tells repetitions of the task apart.
            expect: Exit code; of a task that fails, only the logs come back.

        Raises:
            AssertionError: it ended otherwise; says what it logged.
        """
        component = self._documents[0]["components"][f"comp-{task}"]
        container = self._documents[0]["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        place = self.s3.uri("artifacts", self.run_id, task + (f"-{item}" if item else ""))
        executor_input = _executor_input(component, parameters, artifacts or {}, place)
        outputs = {name: listed["artifacts"][0]["uri"] for name, listed in executor_input["outputs"]["artifacts"].items()}
        given = {
            "inputs": [artifact.runtime["uri"] for artifact in (artifacts or {}).values()],
            "files": [OUTPUT_FILE, *(one["outputFile"] for one in executor_input["outputs"]["parameters"].values())],
            "outputs": list(outputs.values()),
            "executor_output": f"{place}/executor-output.json",
        }
        words = [word.replace("{{$}}", json.dumps(executor_input)) for word in container["command"] + container["args"]]
        name = "-".join(("task", task, *filter(None, [item])))
        logs = run_pod(
            self.namespace,
            self._pod(
                name, component["executorLabel"], container["image"], ["python3", "-c", STAND_IN, json.dumps(given), *words]
            ),
            seconds=seconds,
            expect=expect,
        )
        if expect:
            return Ran({}, {}, logs)
        said = json.loads(self._read(given["executor_output"]))
        described = {name: listed["artifacts"][0] for name, listed in said.get("artifacts", {}).items()}
        found = {
            name: Artifact(described[name], b"" if name == "metrics" else self._read(uri))  # metrics are metadata alone
            for name, uri in outputs.items()
        }
        return Ran(said.get("parameterValues", {}), found, logs)

    def _pod(self, name: str, executor: str, image: str, command: list[str]) -> dict[str, Any]:
        settings = self._documents[1][executor]
        env = [_variable("configMapKeyRef", one["configMapName"], key["configMapKey"], key["envVar"])
               for one in settings.get("configMapAsEnv", []) for key in one["keyToEnv"]]  # fmt: skip
        env += [_variable("secretKeyRef", one["secretName"], key["secretKey"], key["envVar"])
                for one in settings.get("secretAsEnv", []) for key in one["keyToEnv"]]  # fmt: skip
        env.append({"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        made = pod(name, IMAGES[image], command, env=env)
        spec, main = made["spec"], made["spec"]["containers"][0]
        for volume, path in (
            ("artifacts", "/s3"),
            *((one["volumeName"], one["mountPath"]) for one in settings.get("emptyDirMounts", [])),
        ):
            spec["volumes"].append({"name": volume, "emptyDir": {}})
            main["volumeMounts"].append({"name": volume, "mountPath": path})
        spec |= {"serviceAccountName": SERVICE_ACCOUNT, "automountServiceAccountToken": True}
        return made

    def _read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()


def _executor_input(
    component: dict[str, Any], parameters: dict[str, Any], artifacts: dict[str, Artifact], place: str
) -> dict[str, Any]:
    """The driver's JSON for a task: inputs by value, outputs as places to write to."""
    wanted = component.get("inputDefinitions", {})
    needed = {name for name, one in wanted.get("parameters", {}).items() if not one.get("isOptional")}
    assert needed <= parameters.keys() <= wanted.get("parameters", {}).keys(), needed ^ parameters.keys()
    assert artifacts.keys() == wanted.get("artifacts", {}).keys()
    made = component.get("outputDefinitions", {})
    return {
        "inputs": {
            "parameterValues": parameters,
            # On the backend the name is a number, not what the producer called it.
            "artifacts": {name: {"artifacts": [{**one.runtime, "name": "17"}]} for name, one in artifacts.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in made.get("parameters", {})},
            "artifacts": {
                name: {"artifacts": [{"name": name, "type": one["artifactType"], "uri": f"{place}/{name}", "metadata": {}}]}
                for name, one in made.get("artifacts", {}).items()
            },
            "outputFile": OUTPUT_FILE,
        },
    }


def _variable(kind: str, owner: str, key: str, variable: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {kind: {"name": owner, "key": key, "optional": True}}}
