# The cluster's own network and mount namespaces and cgroup: made, entered, removed, and their removal proven. Sourced by ../cluster.
# shellcheck shell=bash

HOLDER=$STATE/holder # process id and start time of a process that does nothing but hold the namespaces
MARK=SPHINX_X_DEVCLUSTER=$STATE # in the environment of every process that is started for the cluster, containers aside

# Start time beside the id: the id may belong to a stranger later. A zombie has ended: it no longer has namespaces.
process_start() { awk '{sub(/^.*\) /, ""); if ($1 !~ /[ZX]/) print $20}' "/proc/$1/stat" 2> /dev/null || true; }

is_running() {
  local pid start
  [ -s "$HOLDER" ] && read -r pid start < "$HOLDER" && [ -n "$start" ] && [ "$(process_start "$pid")" = "$start" ]
}

require_running() { is_running || die "the development cluster is not up; start it with \`make cluster\`."; }

# enter COMMAND...: in the cluster's namespaces, in the same folder, with the tools and the administrator's kubeconfig.
enter() {
  local pid start
  read -r pid start < "$HOLDER"
  nsenter -t "$pid" -n -m env -C "$PWD" "$MARK" PATH="$BIN:$PATH" KUBECONFIG="$KUBECONFIG_ADMIN" CONTAINERD_ADDRESS="$CONTAINERD_SOCKET" "$@"
}

make_isolation() {
  local pid
  is_running && return
  mkdir -p "$STATE" "$IMAGE_STORE"
  make_cgroup
  make_mount_points
  rm -f "$STATE/held"
  # The new namespaces see no later change of the host's mounts, and the host none of theirs.
  setsid env "$MARK" unshare --net --mount --propagation private "$HERE/lib/hold.sh" "$STATE" "$DNS_IP" < /dev/null > "$LOGS/holder.log" 2>&1 9>&- &
  pid=$!
  wait_for 10 "$LOGS/holder.log" "namespaces of its own" test -e "$STATE/held"
  pid=$(cat "$STATE/held")
  echo "$pid $(process_start "$pid")" > "$HOLDER"
}

# Folders that the kubelet, containerd and Kubernetes' volume provisioner know by fixed names get private contents by
# mounts; those that this machine lacks are made, noted, and removed again by `down`.
make_mount_points() {
  local folder
  for folder in /var/lib/kubelet /var/lib/cni /var/log/containers /tmp/hostpath_pv; do
    [ -d "$folder" ] && continue
    mkdir "$folder"
    echo "$folder" >> "$STATE/made"
  done
}

make_cgroup() {
  local root=/sys/fs/cgroup group controller
  if [ "$(cgroup_version)" = 2 ]; then
    mkdir -p "$root/$CGROUP"
    for controller in cpu cpuset memory pids io hugetlb; do
      grep -qw "$controller" "$root/cgroup.controllers" || continue
      echo "+$controller" > "$root/cgroup.subtree_control" 2> /dev/null || true # on by default under systemd
      echo "+$controller" > "$root/$CGROUP/cgroup.subtree_control" ||
        die "cgroup v2 does not hand the $controller controller to $root/$CGROUP; run the cluster outside of a container."
    done
    return
  fi
  for group in "$root"/*/; do
    [ -e "$group/cgroup.procs" ] && [ ! -e "$group/cgroup.controllers" ] && mkdir -p "$group$CGROUP"
  done
  for controller in cpuset.cpus cpuset.mems; do
    [ ! -e "$root/cpuset/$controller" ] || cat "$root/cpuset/$controller" > "$root/cpuset/$CGROUP/$controller"
  done
}

# Everything that lives in the cluster: what carries our mark, what is in our cgroup, and, while the holder lives and thus
# nobody else can have these namespaces, what shares one of them. Kills depend on this list, so every match is exact, and of
# something that is there: an empty answer of readlink matches nothing.
cluster_processes() {
  {
    { grep -lszxF -- "$MARK" /proc/[0-9]*/environ || true; } | cut -d/ -f3
    if is_running; then processes_in_namespaces_of "$(cut -d' ' -f1 "$HOLDER")"; fi
    cgroup_folders | while read -r folder; do cat "$folder/cgroup.procs" 2> /dev/null || true; done
  } | awk -v self=$$ '$1 > 1 && $1 != self' | sort -un
}

# Neither of them may be this script's own: then the record is wrong, and the list empty.
processes_in_namespaces_of() {
  local network mounts
  network=$(readlink "/proc/$1/ns/net") mounts=$(readlink "/proc/$1/ns/mnt")
  [[ $network == net:* && $mounts == mnt:* ]] || return 0
  [ "$network" != "$(readlink /proc/$$/ns/net)" ] && [ "$mounts" != "$(readlink /proc/$$/ns/mnt)" ] || return 0
  # find complains about processes that end while it looks; that is no failure.
  { find /proc/[0-9]*/ns/net /proc/[0-9]*/ns/mnt -printf '%l %p\n' 2> /dev/null || true; } |
    awk -F'[ /]' -v network="$network" -v mounts="$mounts" '$1 == network || $1 == mounts {print $4}'
}

cgroup_folders() {
  find /sys/fs/cgroup/"$CGROUP" /sys/fs/cgroup/*/"$CGROUP" -depth -type d 2> /dev/null || true
}

# The holder comes last: as long as it lives, the namespaces are ours beyond doubt.
remove_isolation() {
  local round pids folder holder=none start
  if is_running; then read -r holder start < "$HOLDER"; fi
  for round in $(seq 50); do
    pids=$(cluster_processes | grep -vx "$holder" || true)
    [ -n "$pids" ] || break
    # shellcheck disable=SC2086
    kill -KILL $pids 2> /dev/null || true
    sleep 0.2
  done
  if is_running; then kill -KILL "$holder"; fi
  for round in $(seq 50); do is_running || break; sleep 0.1; done
  for round in $(seq 50); do
    cgroup_folders | while read -r folder; do rmdir "$folder" 2> /dev/null || true; done
    [ -n "$(cgroup_folders)" ] || break
    sleep 0.2
  done
  if [ -e "$STATE/made" ]; then
    while read -r folder; do rmdir "$folder" 2> /dev/null || true; done < "$STATE/made"
  fi
}

# The proof: what `up` makes is looked for once more, and named if it is still there.
prove_removed() {
  local left=() folder
  [ -z "$(cluster_processes)" ] || left+=("processes $(cluster_processes | tr '\n' ' ')")
  [ -z "$(cgroup_folders)" ] || left+=("cgroups $(cgroup_folders | tr '\n' ' ')")
  ! grep -q " $CACHE/" /proc/mounts || left+=("mounts below $CACHE")
  if [ -e "$STATE/made" ]; then
    while read -r folder; do [ ! -e "$folder" ] || left+=("$folder"); done < "$STATE/made"
  fi
  [ ${#left[@]} = 0 ] || die "still there: ${left[*]}."
  rm -rf "$STATE"
  [ ! -e "$STATE" ] || die "still there: $STATE."
  say "Down in $(elapsed): no process, cgroup, mount or folder of the cluster is left."
  if [ -d "$CACHE" ]; then say "Kept for the next time: binaries and images in $CACHE (remove: cluster down --cache)."; fi
}
