#!/usr/bin/env bash
# First process of the cluster's namespaces, started by isolation.sh: makes the private mounts, then only sleeps.
#   hold.sh STATE DNS_IP
set -euo pipefail
STATE=$1
mkdir -p "$STATE/volumes"
# Fixed places of the kubelet, the network plugins and containerd: private, so that nothing is left on the host.
for folder in /run /var/lib/kubelet /var/lib/cni /var/log/containers; do
  mount -t tmpfs -o mode=755 devcluster "$folder"
done
mkdir -m 1777 /run/lock
# Kubernetes' built-in provisioner makes volumes in /tmp/hostpath_pv and nowhere else.
mount --bind "$STATE/volumes" /tmp/hostpath_pv
# Commands of `cluster run` find Services by name, as pods do. There is no way out, so no other resolver is missed.
printf 'nameserver %s\nsearch svc.cluster.local cluster.local\noptions ndots:3 timeout:2\n' "$2" > "$STATE/resolv.conf"
resolver=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$resolver")"
[ -e "$resolver" ] || : > "$resolver"
mount --bind "$STATE/resolv.conf" "$resolver"
mount --make-rshared /
ip link set lo up
echo $$ > "$STATE/held.new" && mv "$STATE/held.new" "$STATE/held"
exec sleep infinity
