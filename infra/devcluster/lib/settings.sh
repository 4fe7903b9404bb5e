# Versions, addresses and folders of the development cluster. Sourced by ../cluster, which sets HERE.
# shellcheck shell=bash disable=SC2034

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # not on every user's path, and iptables is there
CACHE=${SPHINX_X_CACHE:-$HOME/.cache/sphinx-x}/devcluster

# The go.mod files pin the versions; nothing repeats them.
module_version() { awk -v module="$1" '$1 == module && $2 ~ /^v/ {print $2; exit} $1 == "require" && $2 == module {print $3; exit}' "$HERE/go/$2/go.mod"; }
KUBERNETES_VERSION=$(module_version k8s.io/kubernetes k8s)
COREDNS_VERSION=$(module_version github.com/coredns/coredns coredns)
JOBSET_VERSION=$(module_version sigs.k8s.io/jobset trainer)
TRAINER_VERSION=$(module_version github.com/kubeflow/trainer/v2 trainer)
ARGO_VERSION=$(module_version github.com/argoproj/argo-workflows/v4 argo)
S3PROXY_VERSION=4.0.0

# One folder for each set of pinned sources, so that a changed pin never meets an old binary.
digest_of() { (cd "$HERE" && find "$@" -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-10); }
PARTS=$CACHE/$KUBERNETES_VERSION-$(digest_of go)
BIN=$PARTS/bin MANIFESTS=$PARTS/manifests
IMAGES=$PARTS/images-$(digest_of s3proxy mkimage.py)
LOGS=$CACHE/logs
IMAGE_STORE=$CACHE/image-store # containerd's: images are a cache, like the binaries
STATE=$CACHE/state             # of the running cluster; `down` removes it
KUBECONFIG_ADMIN=$STATE/kubeconfig/admin.kubeconfig

NODE_NAME=devcluster
NODE_IP=10.200.0.1
SERVICE_RANGE=10.96.0.0/16 POD_RANGE=10.244.0.0/16
DNS_IP=10.96.0.10 API_IP=10.96.0.1
CGROUP=sphinx-x-devcluster-$(cksum <<< "$CACHE" | cut -d' ' -f1) # each cache has its own cluster
CONTAINERD_SOCKET=$STATE/run/containerd.sock

image_name() { echo "localhost/devcluster/$1"; } # images of the cluster's own parts: never pulled from anywhere
PAUSE_IMAGE=$(image_name pause:1)
COREDNS_IMAGE=$(image_name "coredns:$COREDNS_VERSION")
JOBSET_IMAGE=$(image_name "jobset:$JOBSET_VERSION")
TRAINER_IMAGE=$(image_name "trainer:$TRAINER_VERSION")
S3PROXY_IMAGE=$(image_name "s3proxy:$S3PROXY_VERSION")
# Ours, built by infra/images/build.sh.
OPS_IMAGE=localhost/sphinx-x-ops:dev
TRAIN_IMAGE=localhost/sphinx-x-train:dev

SERVICES_NAMESPACE=sphinx-x-services
