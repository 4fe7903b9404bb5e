# What runs in the cluster: DNS, volumes, JobSet, Trainer, Argo's Workflow type, S3 and MLflow. Sourced by ../cluster.
# shellcheck shell=bash

install_platform() {
  local image
  for image in jobset trainer s3proxy; do import_image "$IMAGES/$image.tar"; done
  install_once base install_base
  install_once controllers install_controllers
  install_once services install_services
  wait_for 90 "$LOGS/kubelet.log" "DNS answers" rolled_out kube-system coredns
  wait_for 180 "$LOGS/kubelet.log" "JobSet answers" admits jobset
  wait_for 180 "$LOGS/kubelet.log" "Trainer answers (TrainJobStatus is on)" admits trainer
  wait_for 120 "$LOGS/kubelet.log" "S3 ready" rolled_out $SERVICES_NAMESPACE s3
  wait_for 60 "$LOGS/kubelet.log" "S3 bucket sphinx-x" make_bucket
  import_project_images || true
  install_mlflow
}

rolled_out() { kubectl -n "$1" rollout status "deployment/$2" --timeout=1s; }

# The webhook of a controller answers: a pod that counts as ready may not be reached by its Service yet, and after a crash
# of the cluster counts as ready for a while though it is gone.
admits() { kubectl create --dry-run=server -f "$HERE/manifests/$1/probe.yml"; }

# install_once NAME FUNCTION: unless this cluster had it from these very files; applying all again takes ten seconds.
install_once() {
  local stamp
  stamp=$STATE/installed/$1-$(cat "$HERE"/manifests/*.yaml "$HERE"/manifests/*/*.yaml "$HERE/lib/platform.sh" | sha256sum | cut -c1-10)-$(basename "$PARTS")
  [ -e "$stamp" ] && return
  mkdir -p "$(dirname "$stamp")"
  "$2" > "$LOGS/install-$1.log" 2>&1 || die "installing the cluster's $1 failed; see $LOGS/install-$1.log."
  touch "$stamp"
  say "  $(elapsed)  installed: $1"
}

# Puts the names of settings.sh into a manifest.
render() {
  sed -e "s|\${COREDNS_IMAGE}|$COREDNS_IMAGE|; s|\${JOBSET_IMAGE}|$JOBSET_IMAGE|; s|\${TRAINER_IMAGE}|$TRAINER_IMAGE|" \
    -e "s|\${S3PROXY_IMAGE}|$S3PROXY_IMAGE|; s|\${OPS_IMAGE}|$OPS_IMAGE|; s|\${DNS_IP}|$DNS_IP|" \
    -e "s|\${TRAINER_VERSION}|$TRAINER_VERSION|" "$1"
}

install_base() {
  kubectl apply -f "$HERE/manifests/storage-class.yaml" &&
    render "$HERE/manifests/coredns.yaml" | kubectl apply -f - &&
    kubectl apply --server-side -f "$MANIFESTS/argoproj.io_workflows.yaml"
}

# Server-side: the resource definitions are larger than an annotation may be. Twice at most: a resource of a type that the same
# call defines may come too early.
install_controllers() {
  local name file
  for name in jobset trainer; do
    mkdir -p "$MANIFESTS/install-$name"
    for file in "$HERE/manifests/$name"/*.yaml; do render "$file" > "$MANIFESTS/install-$name/$(basename "$file")"; done
    apply_controller "$name" || { sleep 2 && apply_controller "$name"; } || return 1
  done
}

# Without leader election: there is one replica of each, and on a busy machine it would lose its lease to nobody, and end.
apply_controller() {
  kubectl kustomize "$MANIFESTS/install-$1" | sed 's/leaderElect: true/leaderElect: false/' | kubectl apply --server-side --force-conflicts -f -
}

install_services() {
  kubectl apply -f "$HERE/manifests/services.yaml" &&
    make_credentials &&
    render "$HERE/manifests/s3.yaml" | kubectl apply -f -
}

# Generated at the first start; written nowhere but into the Secret.
make_credentials() {
  local key secret
  kubectl -n $SERVICES_NAMESPACE get secret s3 > /dev/null 2>&1 && return
  key=devcluster-$(openssl rand -hex 4) secret=$(openssl rand -hex 20)
  kubectl apply -f - << EOF
apiVersion: v1
kind: Secret
metadata: {name: s3, namespace: $SERVICES_NAMESPACE}
stringData:
  AWS_ACCESS_KEY_ID: $key
  AWS_SECRET_ACCESS_KEY: $secret
  s3proxy.properties: |
$(sed 's/^/    /' "$HERE/s3proxy/s3proxy.properties")
    s3proxy.identity=$key
    s3proxy.credential=$secret
EOF
}

secret_value() { kubectl -n $SERVICES_NAMESPACE get secret s3 -o "jsonpath={.data.$1}" | base64 -d; }

service_address() { kubectl -n $SERVICES_NAMESPACE get service "$1" -o 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}'; }

# The credentials go through standard input: command lines can be read by everybody.
make_bucket() {
  printf 'user = "%s:%s"\n' "$(secret_value AWS_ACCESS_KEY_ID)" "$(secret_value AWS_SECRET_ACCESS_KEY)" |
    curl -sS --config - --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT -o /dev/null -w '%{http_code}' "http://$(service_address s3)/sphinx-x" |
    grep -qE '^(200|409)$'
}

install_mlflow() {
  if ! has_image $OPS_IMAGE; then
    say "  $(elapsed)  no MLflow: the image $OPS_IMAGE is not there (infra/images/build.sh makes it, \`cluster load\` loads it, then \`cluster up\` again)."
    return
  fi
  install_once mlflow apply_mlflow
  wait_for 240 "$LOGS/kubelet.log" "MLflow ready" rolled_out $SERVICES_NAMESPACE mlflow
}

apply_mlflow() { render "$HERE/manifests/mlflow.yaml" | kubectl apply -f -; }

show_status() {
  local name
  kubectl get nodes -o wide | cut -c1-120
  kubectl get pods -A | awk 'NR == 1 || $4 != "Completed"'
  for name in s3 mlflow; do
    kubectl -n $SERVICES_NAMESPACE get service $name > /dev/null 2>&1 || continue
    say "http://$name.$SERVICES_NAMESPACE.svc:$(service_address $name | cut -d: -f2) (from outside of pods: $(service_address $name))"
  done
  say "images: $(containerctl images ls -q | grep -v sha256 | tr '\n' ' ')"
}
