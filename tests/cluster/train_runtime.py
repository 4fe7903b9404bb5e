"""The least TrainingRuntime that training needs, for tests of the launcher alone; users get the chart's."""

from typing import Any


def train_runtime(variant: str, image: str, max_restarts: int = 2, grace_seconds: int = 30, **container: Any) -> dict[str, Any]:
    """A TrainingRuntime `sphinx-x-<variant>` whose nodes the restricted profile lets in.

    Args:
        container: more fields of the container `node`, such as `envFrom`.
    """
    attempt = {"fieldRef": {"fieldPath": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}
    node = {
        "name": "node",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": [{"name": "SPHINX_X_ATTEMPT", "valueFrom": attempt}, {"name": "HOME", "value": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
        **container,
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [node],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        ],
    }

    def fail_job(**condition: Any) -> dict[str, Any]:
        return {"action": "FailJob", **condition}

    def ended_with(code: int) -> dict[str, Any]:
        return {"onExitCodes": {"containerName": "node", "operator": "In", "values": [code]}}

    rules = [
        fail_job(**ended_with(64)),
        fail_job(onPodConditions=[{"type": "DisruptionTarget", "status": "True"}]),
        fail_job(**ended_with(143)),
    ]
    final = {"onJobFailureReasons": ["PodFailurePolicy"], "onJobFailureMessagePatterns": ["exit code 64 "]}
    failure_policy = {
        "maxRestarts": max_restarts,
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {"name": "final", "action": "FailJobSet", **final},
            {"name": "disrupted", "action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]},
        ],
    }
    job = {"backoffLimit": 0, "podFailurePolicy": {"rules": rules}, "template": {"spec": pod}}
    template = {"metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}, "spec": job}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": f"sphinx-x-{variant}", "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"failurePolicy": failure_policy, "replicatedJobs": [{"name": "node", "template": template}]}},
        },
    }
