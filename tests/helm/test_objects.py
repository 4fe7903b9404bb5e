"""What the chart makes, piece by piece, and what it makes only when asked."""

import json
import subprocess
import tarfile

import pytest
import yaml
from mlflow.environment_variables import _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS, _MLFLOW_WEBHOOK_ALLOWED_SCHEMES

from components.shared.platform import ATTEMPT, EXIT_FINAL
from pipelines.cluster.render import compiled_pipelines
from tests.helm.rendering import CHART, EVERYTHING, NAMESPACE, find, helm_binary, names, pods, render

OWN_MLFLOW = {"mlflow": {"trackingUri": "", "server": {"enabled": True}}}


def rights(role: dict) -> dict[str, list[str]]:
    """Resource to verbs."""
    return {
        f"{group}/{resource}": sorted(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def node_of(variant: str, **values) -> tuple[dict, dict]:
    """Pod and container of a training node."""
    found = {where: pod for where, _, pod in pods(render(**values))}[f"TrainingRuntime sphinx-x-{variant}"]
    (container,) = found["containers"]
    return found, container


def test_pipelines_may_do_this_and_nothing_else():
    role = find(render(), "Role", "sphinx-x-pipelines")
    assert rights(role) == {
        "trainer.kubeflow.org/trainjobs": ["create", "delete", "get", "list", "patch", "watch"],
        "trainer.kubeflow.org/trainingruntimes": ["get", "list"],
        "jobset.x-k8s.io/jobsets": ["get", "list", "watch"],
        "/pods": ["get", "list", "watch"],
        "/pods/log": ["get"],
        "/events": ["list", "watch"],
        "argoproj.io/workflows": ["get"],
    }


def test_pipelines_may_look_at_the_secrets_that_are_named_and_at_no_other():
    role = find(render(**EVERYTHING), "Role", "sphinx-x-pipelines")
    (rule,) = [rule for rule in role["rules"] if rule["resources"] == ["secrets"]]
    assert (rule["resourceNames"], rule["verbs"]) == (["storage", "login"], ["get"])


def test_the_reaper_may_do_this_and_nothing_else():
    role = find(render(), "Role", "sphinx-x-reaper")
    assert rights(role) == {
        "trainer.kubeflow.org/trainjobs": ["delete", "list", "watch"],
        "argoproj.io/workflows": ["get"],
    }


def test_the_only_right_in_the_whole_cluster_is_to_list_nodes():
    objects = render(**EVERYTHING)
    (name,) = [name for _, name in names(objects, "ClusterRole")]
    assert rights(find(objects, "ClusterRole", name)) == {"/nodes": ["list"]}
    assert NAMESPACE in name  # one chart a namespace, many in a cluster
    assert not names(render(rbac={"listNodes": False}), "ClusterRole")


def test_without_rbac_an_administrator_makes_the_roles():
    objects = render(rbac={"create": False})
    assert not [item for item in objects if item["apiVersion"].startswith("rbac.authorization.k8s.io")]


@pytest.mark.parametrize(
    ("values", "account"),
    [
        ({}, "pipeline-runner"),
        ({"kfp": {"multiUser": True}}, "default-editor"),
        ({"pipelines": {"serviceAccount": {"name": "mine"}}}, "mine"),
    ],
)
def test_rights_go_to_the_account_that_runs_pipelines(values, account):
    objects = render(**values)
    for kind, name in (("RoleBinding", "sphinx-x-pipelines"), ("ClusterRoleBinding", f"sphinx-x-list-nodes-{NAMESPACE}")):
        assert find(objects, kind, name)["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
    assert ("ServiceAccount", account) not in names(objects)


def test_a_runtime_says_what_a_failure_means():
    spec = find(render(), "TrainingRuntime", "sphinx-x-tiny")["spec"]
    assert spec["mlPolicy"] == {"numNodes": 1, "torch": {}}
    jobset = spec["template"]["spec"]
    assert "ttlSecondsAfterFinished" not in json.dumps(spec)
    assert jobset["failurePolicy"]["maxRestarts"] == 3
    assert [rule["action"] for rule in jobset["failurePolicy"]["rules"]] == ["FailJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
    assert jobset["failurePolicy"]["rules"][0]["onJobFailureMessagePatterns"] == [f"exit code {EXIT_FINAL} "]
    (job,) = jobset["replicatedJobs"]
    assert job["name"] == "node"
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert job["template"]["spec"]["backoffLimit"] == 0
    first, *_ = job["template"]["spec"]["podFailurePolicy"]["rules"]
    assert first["onExitCodes"] == {"containerName": "node", "operator": "In", "values": [EXIT_FINAL]}


def test_the_table_of_sizes_makes_the_node():
    row = {
        "numNodes": 6,
        "gpus": 4,
        "shmSize": "7Gi",
        "scratchSize": "9Gi",
        "maxRestarts": 0,
        "env": {"NCCL_DEBUG": "INFO", "FI_PROVIDER": "efa"},
        "nodeSelector": {"gpu": "h200"},
        "tolerations": [{"key": "h200", "operator": "Exists"}],
        "resources": {"limits": {"memory": "10Gi", "vpc.amazonaws.com/efa": 4}},
    }
    training = {"nodeSelector": {"gpu": "any", "zone": "a"}, "variants": {"plus": row}}
    runtime = find(render(training=training), "TrainingRuntime", "sphinx-x-plus")["spec"]
    assert runtime["mlPolicy"]["numNodes"] == 6
    assert runtime["template"]["spec"]["failurePolicy"]["maxRestarts"] == 0
    pod, container = node_of("plus", training=training)
    assert pod["nodeSelector"] == {"gpu": "h200", "zone": "a"}
    assert {one["key"] for one in pod["tolerations"]} == {"nvidia.com/gpu", "h200"}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (environment["NCCL_DEBUG"], environment["FI_PROVIDER"]) == ("INFO", "efa")
    # The launcher's number of GPUs is merged into the limits; a request of its own would contradict it.
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert container["resources"]["limits"]["vpc.amazonaws.com/efa"] == 4
    assert "nvidia.com/gpu" not in container["resources"]["requests"]
    assert {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]} == {
        "tmp": {"sizeLimit": "9Gi"},
        "shm": {"medium": "Memory", "sizeLimit": "7Gi"},
    }
    # Rows do not leak into each other.
    assert "FI_PROVIDER" not in json.dumps(node_of("moe", training=training)[1])


def test_a_node_knows_its_attempt_and_its_settings():
    _, container = node_of("nano", **EVERYTHING)
    by_name = {entry["name"]: entry for entry in container["env"]}
    assert by_name[ATTEMPT]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"
    assert not [name for name in by_name if name.startswith("PET_")]
    assert container["envFrom"] == [{"configMapRef": {"name": "sphinx-x-settings"}}]
    reference = by_name["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "storage", "key": "user", "optional": True}
    assert by_name["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "hub"
    assert len(by_name) == len(container["env"]), "a name is there twice"
    assert by_name["SPHINX_X_METRICS_PORT"]["value"] == "9464"
    assert container["ports"] == [{"name": "metrics", "containerPort": 9464}]


def test_the_uploader_is_a_hook_that_leaves_nothing():
    jobs = [item for item in render() if item["kind"] == "Job"]
    by_hook = {job["metadata"]["annotations"]["helm.sh/hook"]: job for job in jobs}
    assert set(by_hook) == {"post-install,post-upgrade,post-rollback", "pre-delete"}
    # One name: the last hook clears away what a failed one left.
    assert {job["metadata"]["name"] for job in jobs} == {"sphinx-x-sync"}
    for job in jobs:
        policy = job["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert {"before-hook-creation", "hook-succeeded"} <= set(policy.split(","))
        assert job["spec"]["ttlSecondsAfterFinished"] > 0
        assert job["spec"]["activeDeadlineSeconds"] > 0
    (remover,) = by_hook["pre-delete"]["spec"]["template"]["spec"]["containers"]
    assert remover["command"][-1] == "--remove"


@pytest.mark.parametrize(
    ("kfp", "count"), [({"mode": "none"}, 0), ({"sync": {"removeSchedulesOnUninstall": False}}, 1), ({"mode": "kubernetes"}, 2)]
)
def test_how_much_of_the_uploader_there_is(kfp, count):
    assert len([item for item in render(kfp=kfp) if item["kind"] == "Job"]) == count


def test_profiles_show_kubeflow_a_token():
    (job, *_) = [item for item in render(kfp={"multiUser": True}) if item["kind"] == "Job"]
    pod = job["spec"]["template"]["spec"]
    (token,) = [volume["projected"]["sources"][0]["serviceAccountToken"] for volume in pod["volumes"] if "projected" in volume]
    assert token["audience"] == "pipelines.kubeflow.org"
    assert pod["serviceAccountName"] == "default-editor"


def test_mlflow_is_called_by_names_that_it_accepts():
    """The server compares the Host header letter by letter: every DNS form, with and without the port."""
    objects = render(**OWN_MLFLOW, kfp={"mode": "none"})
    pod = find(objects, "Deployment", "sphinx-x-mlflow")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (allowed,) = [entry["value"] for entry in container["env"] if entry["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS"]
    forms = [f"sphinx-x-mlflow{rest}" for rest in ("", f".{NAMESPACE}", f".{NAMESPACE}.svc", f".{NAMESPACE}.svc.cluster.local")]
    assert {*forms, *(f"{form}:5000" for form in forms)} <= set(allowed.split(","))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"].startswith("/api/")  # /health answers without looking at the Host header
        assert asked["httpHeaders"][0]["value"] in allowed.split(",")
    service = find(objects, "Service", "sphinx-x-mlflow")["spec"]
    assert service["ports"][0]["port"] == 5000
    assert (
        service["selector"].items()
        <= find(objects, "Deployment", "sphinx-x-mlflow")["spec"]["template"]["metadata"]["labels"].items()
    )


def test_webhooks_keep_their_key_and_reach_this_cluster_only_where_told():
    def environment(**server) -> dict[str, dict]:
        objects = render(mlflow={"trackingUri": "", "server": {"enabled": True, **server}})
        pod = find(objects, "Deployment", "sphinx-x-mlflow")["spec"]["template"]["spec"]
        return {one["name"]: one for one in pod["containers"][0]["env"] if "WEBHOOK" in one["name"]}

    assert environment() == {}
    told = environment(webhooks={"existingSecret": {"name": "hooks"}, "privateAddresses": True})
    key = told.pop("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")["valueFrom"]["secretKeyRef"]
    assert key == {"name": "hooks", "key": "encryptionKey"}
    # MLflow's own names: a later version that drops them must not go unnoticed.
    assert set(told) == {flag.name for flag in (_MLFLOW_WEBHOOK_ALLOWED_SCHEMES, _MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS)}


def test_mlflow_s_records_outlive_the_chart_unless_told_otherwise():
    claim = find(render(**OWN_MLFLOW), "PersistentVolumeClaim", "sphinx-x-mlflow")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    passing = {"mlflow": {"trackingUri": "", "server": {"enabled": True, "persistence": {"keep": False}}}}
    assert "annotations" not in find(render(**passing), "PersistentVolumeClaim", "sphinx-x-mlflow")["metadata"]


def test_mlflow_with_a_database_of_its_own_has_no_volume():
    server = {"enabled": True, "database": {"existingSecret": {"name": "database"}}}
    objects = render(mlflow={"trackingUri": "", "server": server})
    assert not names(objects, "PersistentVolumeClaim")
    pod = find(objects, "Deployment", "sphinx-x-mlflow")["spec"]["template"]["spec"]
    for container in pod["initContainers"] + pod["containers"]:
        by_name = {entry["name"]: entry for entry in container["env"]}
        assert by_name["MLFLOW_BACKEND_STORE_URI"]["valueFrom"]["secretKeyRef"] == {"name": "database", "key": "uri"}


def test_dashboards_and_rules_travel_unchanged():
    objects = render(**EVERYTHING)
    for file in sorted((CHART / "dashboards").glob("*.json")):
        found = [item for item in objects if item["kind"] == "ConfigMap" and file.name in item["data"]]
        assert len(found) == 1, file
        assert json.loads(found[0]["data"][file.name]) == json.loads(file.read_text())
        assert found[0]["metadata"]["labels"]["grafana_dashboard"] == "1"
    wanted = [yaml.safe_load(file.read_text()) for file in sorted((CHART / "rules").glob("*.yaml"))]
    assert [item["spec"] for item in objects if item["kind"] == "PrometheusRule"] == wanted


def test_what_is_off_by_default():
    kinds = {item["kind"] for item in render()}
    off = {
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "PersistentVolumeClaim",
        "Service",
        "PipelineVersion",
    }
    assert not kinds & off


def test_policies_select_the_pods_that_they_are_for():
    objects = render(**EVERYTHING)
    labels = {where: metadata["labels"] for where, metadata, _ in pods(objects)}
    chosen = set()
    for policy in [item for item in objects if item["kind"] in ("NetworkPolicy", "PodDisruptionBudget")]:
        spec = policy["spec"]
        selector = (spec.get("podSelector") or spec["selector"])["matchLabels"]
        matching = {where for where, has in labels.items() if selector.items() <= has.items()}
        assert matching, policy["metadata"]["name"]
        if policy["kind"] == "NetworkPolicy":
            chosen |= matching
    assert chosen == set(labels)


def test_names_are_free_of_the_release():
    """The launcher and the compiled pipelines know them; a second release in the namespace is refused by helm itself."""
    assert all(name.startswith("sphinx-x") for kind, name in names(render()) if kind != "ServiceAccount")


def test_a_packaged_chart_holds_the_pipelines_themselves(tmp_path):
    """In a checkout they are a link; who installs a package has no checkout."""
    packed = subprocess.run(
        [helm_binary(), "package", str(CHART), "--destination", str(tmp_path)], capture_output=True, text=True
    )
    assert packed.returncode == 0, packed.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        inside = {member.name: member for member in archive.getmembers()}
    for name, _ in compiled_pipelines():
        assert inside[f"sphinx-x/files/pipelines/{name}.yaml"].isfile()
    assert all(member.isfile() for member in inside.values())
