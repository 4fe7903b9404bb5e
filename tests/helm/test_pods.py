"""Every pod that the chart makes, with every option on and with the least: hardened, pinned, and free of secrets' values."""

import re

import pytest

from tests.helm.rendering import EVERYTHING, find, pods, render
from tests.helm.restricted import violations

CONFIGURATIONS = {
    "least": {},
    "everything": EVERYTHING,
    "single user, own MLflow": {"mlflow": {"trackingUri": "", "server": {"enabled": True}}},
    "objects instead of uploads": {"kfp": {"mode": "kubernetes"}},
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def objects(request) -> list[dict]:
    return render(**CONFIGURATIONS[request.param])


def test_every_pod_passes_the_restricted_profile(objects):
    found = {where: problems for where, _, pod in pods(objects) if (problems := violations(pod))}
    assert found == {}


def test_the_checker_sees_what_the_profile_forbids():
    bare = {
        "containers": [{"name": "main", "image": "x:latest"}],
        "hostNetwork": True,
        "volumes": [{"name": "v", "hostPath": {}}],
    }
    found = " ".join(violations(bare))
    assert all(
        word in found for word in ("hostNetwork", "hostPath", "runAsNonRoot", "seccomp", "escalate", "capabilities", "latest")
    )


def test_only_what_speaks_to_the_api_server_has_a_token(objects):
    with_token = {where for where, _, pod in pods(objects) if pod["automountServiceAccountToken"]}
    assert with_token == {"Deployment sphinx-x-reaper", "Pod sphinx-x-doctor"}


def test_credentials_are_references(objects):
    """Names that credentials have get their value from a Secret, wherever they stand."""
    secret = re.compile("KEY|PASSWORD|TOKEN|USERNAME")
    for where, _, pod in pods(objects):
        for container in pod.get("initContainers", []) + pod["containers"]:
            for entry in container.get("env", []):
                if secret.search(entry["name"]):
                    assert "secretKeyRef" in entry.get("valueFrom", {}), f"{where}: {entry['name']}"
    assert not [item for item in objects if item["kind"] == "Secret"]


def test_images_by_digest():
    digest = "sha256:" + "a" * 64
    images = {"ops": {"digest": digest}, "train": {"digest": digest}}
    shown = {
        container["image"]
        for _, _, pod in pods(render(images=images, mlflow={"trackingUri": "", "server": {"enabled": True}}))
        for container in pod.get("initContainers", []) + pod["containers"]
    }
    assert shown == {f"registry.example/ml/sphinx-x-{which}@{digest}" for which in ("ops", "train")}


def test_a_mirror_serves_all_images():
    objects = render(**{"global": {"imageRegistry": "mirror.example"}})
    images = {container["image"].split("/")[0] for _, _, pod in pods(objects) for container in pod["containers"]}
    assert images == {"mirror.example"}


def test_what_every_pod_can_be_given():
    objects = render(**EVERYTHING)
    for where, metadata, pod in pods(objects):
        assert metadata["labels"]["team"] == "vision", where
        assert pod["imagePullSecrets"] == [{"name": "pull"}], where
        # A profile's namespace injects Istio's proxy, under which no Job ends.
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false", where


def test_a_platform_that_chooses_users_itself():
    objects = render(podSecurity={"runAsUser": None, "runAsGroup": None, "fsGroup": None})
    for _, _, pod in pods(objects):
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_reaper_lives_by_its_file():
    from components.train.reaper import LIVENESS_FILE

    pod = find(render(), "Deployment", "sphinx-x-reaper")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["sphinx-x", "reap", "--watch"]
    for probe in ("startupProbe", "livenessProbe"):
        assert str(LIVENESS_FILE) in container[probe]["exec"]["command"][-1]
