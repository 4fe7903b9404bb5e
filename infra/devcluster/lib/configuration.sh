# Configuration of containerd, the pod network, the kubelet and kube-proxy. Sourced by ../cluster.
# shellcheck shell=bash

CONFIG=$STATE/config

write_configuration() {
  mkdir -p "$CONFIG" "$STATE"/{run,kubelet,pod-logs,plugins,etcd}
  containerd_configuration | put "$CONFIG/containerd.toml"
  network_configuration | put "$CONFIG/cni/10-devcluster.conflist"
  kubelet_configuration | put "$CONFIG/kubelet.yaml"
  proxy_configuration | put "$CONFIG/kube-proxy.yaml"
  # For pods with the host's resolver: there is no way out of the cluster, so none.
  echo "options timeout:1" | put "$CONFIG/resolv.conf"
}

# restrict_oom_score_adj, oom_score, oomScoreAdj: root without CAP_SYS_RESOURCE (a sandboxed machine) may not lower scores.
containerd_configuration() {
  cat << EOF
version = 2
root = "$IMAGE_STORE/containerd"
state = "$STATE/containerd"
oom_score = 0
[grpc]
  address = "$CONTAINERD_SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$CONFIG/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
EOF
}

# hairpinMode: a pod may call itself through its Service.
network_configuration() {
  cat << EOF
{ "cniVersion": "1.0.0", "name": "devcluster",
  "plugins": [
    { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "mtu": 1400,
      "ipam": { "type": "host-local", "dataDir": "$STATE/addresses",
                "ranges": [[{ "subnet": "10.244.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
    { "type": "portmap", "capabilities": { "portMappings": true } } ] }
EOF
}

# Images that were imported cannot be pulled again: never collected, and no eviction before the disk is really full.
# syncFrequency: Trainer waits until the kubelet refreshes its certificate's Secret; the default makes that two minutes.
kubelet_configuration() {
  cat << EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-serving.crt
tlsPrivateKeyFile: $PKI/kubelet-serving.key
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$DNS_IP]
resolvConf: $CONFIG/resolv.conf
podLogsDir: $STATE/pod-logs
volumePluginDir: $STATE/plugins
oomScoreAdj: 0
maxOpenFiles: $(ulimit -Hn)
maxPods: 110
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi, nodefs.inodesFree: "1%"}
nodeStatusUpdateFrequency: 10s
syncFrequency: 10s
EOF
}

proxy_configuration() {
  cat << EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $(dirname "$KUBECONFIG_ADMIN")/kube-proxy.kubeconfig}
mode: iptables
clusterCIDR: $POD_RANGE
bindAddress: $NODE_IP
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: $NODE_NAME
oomScoreAdj: 0
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
}
