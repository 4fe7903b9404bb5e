"""The restricted Pod Security profile, and this project's own rules on top, for one pod's specification.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Kubernetes 1.34)
"""

import re
from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod: dict[str, Any]) -> list[str]:
    """What the profile, or a rule of ours, forbids in this pod; empty for none."""
    found = [f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    found += [
        f"volume {volume['name']} is {kind}" for volume in pod.get("volumes", []) for kind in set(volume) - {"name"} - VOLUMES
    ]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        found.append("runAsNonRoot is not true")
    if security.get("runAsUser") == 0:
        found.append("runs as root")
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("no seccomp profile")
    for container in pod.get("initContainers", []) + pod["containers"]:
        found += [f"{container['name']}: {what}" for what in _container_violations(container, pod)]
    return found


def _container_violations(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    found, security = [], container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False:
        found.append("may escalate privileges")
    if security.get("privileged"):
        found.append("is privileged")
    if security.get("capabilities") != {"drop": ["ALL"]}:
        found.append("keeps capabilities")
    if security.get("runAsNonRoot") is False or security.get("runAsUser") == 0:
        found.append("runs as root")
    if any(port.get("hostPort") for port in container.get("ports", [])):
        found.append("has a port of the host")
    return found + _house_rules(container, pod)


def _house_rules(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    found = []
    if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        found.append("may write to its root file system")
    if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", [])}:
        found.append("has no /tmp to write to")
    if {"name": "HOME", "value": "/tmp"} not in container.get("env", []):
        found.append("has a HOME that it cannot write to")
    if not re.search(r"(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$", container["image"]) or container["image"].endswith(":latest"):
        found.append(f"image {container['image']} can change")
    if "memory" not in container.get("resources", {}).get("limits", {}):
        found.append("has no limit of memory")
    if not {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {})):
        found.append("asks for no CPU or memory")
    if pod.get("enableServiceLinks") is not False:
        found.append("is told of every Service by its environment")
    if "automountServiceAccountToken" not in pod:
        found.append("does not say whether it needs a token of the API server")
    return found
