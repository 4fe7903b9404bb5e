# Compiles the cluster's binaries into the cache, and takes manifests out of the same modules. Sourced by ../cluster.
# shellcheck shell=bash

# name, folder below go/, package
BINARIES="
etcd k8s go.etcd.io/etcd/server/v3
kube-apiserver k8s k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager k8s k8s.io/kubernetes/cmd/kube-controller-manager
kubelet k8s k8s.io/kubernetes/cmd/kubelet
kube-scheduler k8s k8s.io/kubernetes/cmd/kube-scheduler
kube-proxy k8s k8s.io/kubernetes/cmd/kube-proxy
kubectl k8s k8s.io/kubernetes/cmd/kubectl
coredns coredns .
pause pause .
jobset-manager trainer sigs.k8s.io/jobset
kube-router policies github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
trainer-manager trainer github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager
"

build_binaries() {
  local name module package number=0 total
  total=$(grep -c . <<< "$BINARIES")
  mkdir -p "$BIN" "$LOGS"
  while read -r name module package <&3; do
    [ -n "$name" ] || continue
    number=$((number + 1))
    [ -x "$BIN/$name" ] && continue
    with_progress "compiling $number of $total: $name" "$LOGS/build-$name.log" compile "$name" "$module" "$package"
  done 3<<< "$BINARIES"
  [ -e "$MANIFESTS/.complete" ] || with_progress "manifests of JobSet, Trainer, Argo" "$LOGS/build-manifests.log" collect_manifests
  touch "$BIN/.complete"
}

compile() {
  local flags="-s -w" module
  # Without a version the API server calls itself v0.0.0-master, which clients and charts refuse.
  for module in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    [ "$2" = k8s ] || break
    flags+=" -X $module.gitVersion=$KUBERNETES_VERSION -X $module.gitMajor=1 -X $module.gitMinor=$(cut -d. -f2 <<< "$KUBERNETES_VERSION")"
    flags+=" -X $module.gitTreeState=clean -X $module.gitCommit=module -X $module.buildDate=2026-01-01T00:00:00Z"
  done
  # Into a name of its own first: an interrupted build leaves nothing that looks finished.
  (cd "$HERE/go/$2" && CGO_ENABLED=0 nice -n 5 go build -mod=readonly -buildvcs=false -trimpath -ldflags "$flags" -o "$BIN/.$1.new" "$3") &&
    mv "$BIN/.$1.new" "$BIN/$1"
}

# Kustomize refuses a base by absolute path: hence copies, side by side.
collect_manifests() {
  rm -rf "$MANIFESTS"
  mkdir -p "$MANIFESTS"
  cp -r "$(module_folder trainer sigs.k8s.io/jobset)/config" "$MANIFESTS/jobset" &&
    cp -r "$(module_folder trainer github.com/kubeflow/trainer/v2)/manifests" "$MANIFESTS/trainer" &&
    cp "$(module_folder argo github.com/argoproj/argo-workflows/v4)/manifests/base/crds/full/argoproj.io_workflows.yaml" "$MANIFESTS/" &&
    chmod -R u+w "$MANIFESTS" && touch "$MANIFESTS/.complete"
}

# Downloads through the module proxy and checks it against go.sum.
module_folder() {
  (cd "$HERE/go/$1" && go mod download "$2" && go list -mod=readonly -m -f '{{.Dir}}' "$2")
}
