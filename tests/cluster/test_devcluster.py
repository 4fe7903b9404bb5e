"""The development cluster does what the other cluster tests lean on; each of these is also true of any other fit cluster.

The pods run nothing but Python's standard library.
"""

import json
import secrets
import urllib.error
import urllib.request

import pytest

from tests.cluster import support
from tests.cluster.support import OPS_IMAGE, apply, get, kubectl, pod, run_pod, wait_for

pytestmark = pytest.mark.cluster

TRACK = """
import mlflow
mlflow.set_experiment("devcluster")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("from the pod", "note.txt")
print(run.info.run_id)
"""

SERVER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"the other pod")
http.server.HTTPServer(("", 8080), Answer).serve_forever()
"""

CALL = """
import socket, sys, time, urllib.request
deadline = time.monotonic() + 60
while True:                                    # a Service answers a moment after its pod is ready
    try:
        print(urllib.request.urlopen("http://" + sys.argv[1], timeout=5).read().decode()); break
    except OSError as error:
        if time.monotonic() > deadline: raise
        time.sleep(0.5)
print(socket.gethostbyname("kubernetes.default.svc"))
"""

RENDEZVOUS = """
import os, socket, time
rank, address = int(os.environ["PET_NODE_RANK"]), (os.environ["PET_MASTER_ADDR"], int(os.environ["PET_MASTER_PORT"]))
print("nodes", os.environ["PET_NNODES"], "status", os.environ.get("KUBEFLOW_TRAINER_SERVER_URL"))
if rank == 0:
    peer, _ = socket.create_server(("", address[1])).accept()
    print("rank 0 heard", peer.recv(20).decode())
else:
    deadline = time.monotonic() + 60
    while True:                                # the name of the first node is not known before its pod has an address
        try:
            peer = socket.create_connection(address, timeout=5); break
        except OSError:
            if time.monotonic() > deadline: raise
            time.sleep(0.2)
    peer.sendall(b"rank 1")
"""


def test_pods_find_each_other_by_service_name(namespace):
    server = pod(
        "server", OPS_IMAGE, ["python3", "-c", SERVER], readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    )
    server["metadata"]["labels"] = {"app": "server"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    apply(namespace, server, service)
    for address in ("server", f"server.{namespace}", f"server.{namespace}.svc.cluster.local"):
        logs = run_pod(namespace, pod("client", OPS_IMAGE, ["python3", "-c", CALL, address]))
        assert "the other pod" in logs, address


def test_root_is_refused(namespace):
    """The restricted profile is enforced, so that a pod of ours that needed root would fail here as on a strict cluster."""
    root = pod("root", OPS_IMAGE, ["id"])
    root["spec"]["securityContext"] = {}
    with pytest.raises(AssertionError, match="violates PodSecurity.*restricted"):
        kubectl("-n", namespace, "create", "-f", "-", stdin=root)
    assert get(namespace, "pod", "root") is None


def test_a_volume_outlives_its_pod(namespace):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    apply(namespace, claim)
    for name, code in (("writer", "open('/data/x', 'w').write('kept')"), ("reader", "print(open('/data/x').read())")):
        spec = pod(name, OPS_IMAGE, ["python3", "-c", code])
        spec["spec"]["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "data"}})
        spec["spec"]["containers"][0]["volumeMounts"].append({"name": "data", "mountPath": "/data"})
        logs = run_pod(namespace, spec)
    assert logs.strip() == "kept"


def test_s3_keeps_its_data_over_a_restart(s3):
    s3.client.put_object(Bucket=s3.bucket, Key=f"{s3.prefix}/kept", Body=b"data")
    owner, _, name = support.S3_SERVICE.partition("/")
    name = name.partition(":")[0]
    if get(owner, "deployment", name) is None:
        pytest.skip(f"{support.S3_SERVICE} is not a Deployment of this cluster's, so it is not this test's to restart")
    kubectl("-n", owner, "rollout", "restart", f"deployment/{name}")
    kubectl("-n", owner, "rollout", "status", f"deployment/{name}", "--timeout=120s", seconds=150)
    read = wait_for(lambda: _read(s3, "kept"), seconds=60, what="S3 after its restart")
    assert read == b"data"


def _read(s3, name: str) -> bytes | None:
    from botocore.exceptions import ConnectionError as Refused
    from botocore.exceptions import HTTPClientError

    try:
        return s3.client.get_object(Bucket=s3.bucket, Key=f"{s3.prefix}/{name}")["Body"].read()
    except (Refused, HTTPClientError):
        return None


def test_bad_credentials_are_refused(s3):
    import boto3
    from botocore.exceptions import ClientError

    stranger = boto3.client(
        "s3", endpoint_url=s3.endpoint, region_name="us-east-1", aws_access_key_id="nobody", aws_secret_access_key="nothing"
    )
    with pytest.raises(ClientError, match="403|Forbidden|InvalidAccessKeyId"):
        stranger.list_objects_v2(Bucket=s3.bucket)


def test_mlflow_takes_a_run_and_its_files_from_a_pod(namespace, settings, mlflow_url):
    """The pod has no credentials of the store: files go through the server, as in production."""
    from_config = [{"configMapRef": {"name": "sphinx-x-settings"}}]
    run = run_pod(namespace, pod("track", OPS_IMAGE, ["python", "-c", TRACK], envFrom=from_config)).split()[-1]
    with urllib.request.urlopen(f"{mlflow_url}/get-artifact?path=note.txt&run_uuid={run}", timeout=30) as answer:
        assert answer.read() == b"from the pod"


def test_mlflow_refuses_a_stranger_of_a_host_name(mlflow_url):
    """No web page may speak to it by a name that resolves to its address."""
    request = urllib.request.Request(
        f"{mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def _runtime() -> dict:
    node = pod("node", OPS_IMAGE, ["python3", "-c", RENDEZVOUS])["spec"]
    node["containers"][0]["name"] = "node"
    template = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"backoffLimit": 0, "template": {"spec": node}},
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": "two", "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
        },
    }


def test_a_trainjob_of_two_nodes_completes(namespace):
    """JobSet and Trainer, their webhooks, the names between the pods, and the address for progress reports."""
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": f"two-{secrets.token_hex(3)}"},
        "spec": {
            "runtimeRef": {"name": "two", "kind": "TrainingRuntime", "apiGroup": "trainer.kubeflow.org"},
            "trainer": {"numNodes": 2},
        },
    }
    name = job["metadata"]["name"]
    apply(namespace, _runtime(), job)

    def finished() -> str | None:
        conditions = (get(namespace, "trainjob", name) or {}).get("status", {}).get("conditions", [])
        return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)

    ended = wait_for(finished, seconds=180, what=f"end of TrainJob {name}")
    logs = kubectl("-n", namespace, "logs", "-l", f"jobset.sigs.k8s.io/jobset-name={name}", "--tail=-1")
    assert ended == "Complete", logs
    assert "nodes 2" in logs
    assert "rank 0 heard rank 1" in logs
    controller = get("kubeflow-system", "deployment", "kubeflow-trainer-controller-manager")
    if "TrainJobStatus=true" in json.dumps(controller):  # an alpha feature, which another cluster may have off
        assert "status https://kubeflow-trainer-controller-manager.kubeflow-system.svc:10443/" in logs


def test_a_workflow_can_be_stored(namespace):
    """Argo's type is there, without its controller: what looks for Workflows can be tried against a real API server."""
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "run", "labels": {"pipeline/runid": "1"}},
        "spec": {
            "entrypoint": "a",
            "templates": [{"name": "a", "container": {"name": "a", "image": "x", "command": ["true"]}}],
        },
    }
    apply(namespace, workflow)
    stored = get(namespace, "workflow", "run")
    assert stored
    assert stored["spec"]["entrypoint"] == "a"
