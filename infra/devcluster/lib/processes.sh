# The processes of the control plane and the node, started once and started again where one has ended. Sourced by ../cluster.
# shellcheck shell=bash

start_processes() {
  set_up_network
  launch containerd containerd --config "$CONFIG/containerd.toml"
  start_api
  wait_for 60 "$LOGS/containerd.log" "containerd answers" containerctl version
  clean_image_store
  import_image "$IMAGES/pause.tar"
  import_image "$IMAGES/coredns.tar"
  launch kubelet kubelet --config="$CONFIG/kubelet.yaml" --kubeconfig="$(kubeconfig_of kubelet)" \
    --root-dir="$STATE/kubelet" --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
  launch kube-proxy kube-proxy --config="$CONFIG/kube-proxy.yaml"
  launch open-volumes "$HERE/lib/open-volumes.sh" "$STATE/volumes"
  wait_for 90 "$LOGS/kubelet.log" "node ready" node_ready
  enforce_network_policies
}

# kube-router, of which only the part that turns NetworkPolicies into iptables runs here; on a kernel without ipset they have no effect.
enforce_network_policies() {
  ipset list -name > /dev/null 2>&1 || { say "  $(elapsed)  this kernel has no ipset: NetworkPolicies are not enforced" && return; }
  launch kube-router kube-router --run-firewall=true --run-router=false --run-service-proxy=false --run-loadbalancer=false \
    --kubeconfig="$KUBECONFIG_ADMIN" --hostname-override="$NODE_NAME" --service-cluster-ip-range="$SERVICE_RANGE" \
    --health-port=0 --iptables-sync-period=1m
  wait_for 60 "$LOGS/kube-router.log" "NetworkPolicies enforced" iptables --list-rules KUBE-ROUTER-FORWARD
}

kubeconfig_of() { echo "$(dirname "$KUBECONFIG_ADMIN")/$1.kubeconfig"; }

node_ready() { kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }

# launch NAME COMMAND...: in the background, output in the log, unless it runs already.
launch() {
  local name=$1 pid start
  shift
  if [ -s "$STATE/run/$name" ]; then
    read -r pid start < "$STATE/run/$name"
    [ "$(process_start "$pid")" != "$start" ] || return 0
  fi
  setsid "$@" >> "$LOGS/$name.log" 2>&1 < /dev/null 9>&- &
  echo "$! $(process_start $!)" > "$STATE/run/$name"
}

set_up_network() {
  echo 1 > /proc/sys/net/ipv4/ip_forward
  echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
  # A node address that depends on no device of the host: the API server refuses to advertise a loopback address.
  ip link show node0 > /dev/null 2>&1 || ip link add node0 type bridge
  ip addr show dev node0 | grep -q "$NODE_IP/" || ip addr add "$NODE_IP/32" dev node0
  ip link set node0 up
  # Without a default route, a route for the Services: the API server calls webhooks by their Service's address.
  ip route replace "$SERVICE_RANGE" dev node0
}

# etcd writes without fsync: the cluster is a throw-away, and starts faster.
start_api() {
  launch etcd etcd --name devcluster --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster devcluster=http://127.0.0.1:2380 --auto-compaction-mode periodic --auto-compaction-retention 5m
  wait_for 60 "$LOGS/etcd.log" "etcd answers" curl -fsS http://127.0.0.1:2379/health
  launch kube-apiserver kube-apiserver \
    --etcd-servers=http://127.0.0.1:2379 --advertise-address="$NODE_IP" --bind-address=0.0.0.0 --secure-port=6443 \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --service-cluster-ip-range="$SERVICE_RANGE" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file="$PKI/sa.key" --service-account-key-file="$PKI/sa.pub" \
    --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" --kubelet-client-key="$PKI/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP,Hostname \
    --requestheader-client-ca-file="$PKI/ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$PKI/front-proxy-client.crt" --proxy-client-key-file="$PKI/front-proxy-client.key" \
    --profiling=false --event-ttl=4h
  wait_for 120 "$LOGS/kube-apiserver.log" "API server answers" kubectl get --raw /readyz
  launch kube-controller-manager kube-controller-manager --kubeconfig="$(kubeconfig_of controller-manager)" \
    --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --use-service-account-credentials=true --enable-hostpath-provisioner=true --leader-elect=false --bind-address=127.0.0.1 \
    --allocate-node-cidrs=true --cluster-cidr="$POD_RANGE" --service-cluster-ip-range="$SERVICE_RANGE" --profiling=false
  launch kube-scheduler kube-scheduler --kubeconfig="$(kubeconfig_of scheduler)" --leader-elect=false --bind-address=127.0.0.1 --profiling=false
}

# The image store outlives the cluster; containers of an earlier one, which ended with it, must not.
clean_image_store() {
  local container
  [ ! -e "$STATE/image-store-cleaned" ] || return 0
  for container in $(containerctl containers ls -q); do
    containerctl tasks rm --force "$container" > /dev/null 2>&1 || true
    containerctl containers rm "$container" > /dev/null 2>> "$LOGS/images.log" || true
  done
  touch "$STATE/image-store-cleaned"
}
