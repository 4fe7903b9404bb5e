# What this machine must have, checked within a second, one sentence each. Sourced by ../cluster.
# shellcheck shell=bash

APT_PACKAGES="containerd runc containernetworking-plugins iptables ipset conntrack ethtool socat curl openssl util-linux iproute2"
APT_BUILD_PACKAGES="maven openjdk-17-jre-headless" # only until the S3 server's image is in the cache
APT_IMAGE_PACKAGES="buildah debootstrap" # our images, where there is no Docker or Podman

check_root() {
  [ "$(id -u)" = 0 ] || die "needs root, for network namespaces and containers: sudo $HERE/cluster $command"
}

check_host() {
  check_root
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || die "runs on Linux on x86_64 only, and this is $(uname -s) on $(uname -m)."
  check_commands
  [ -x /usr/lib/cni/bridge ] || die "/usr/lib/cni/bridge is missing: apt-get install -y --no-install-recommends containernetworking-plugins"
  if [ ! -e "$BIN/.complete" ]; then check_go; fi
  if [ "${1:-}" = --images ]; then check_engine; fi
  if [ ! -e "$IMAGES/s3proxy.tar" ]; then check_java; fi
  check_kernel
  check_disk "$@"
}

# Whether the cluster could run here once its packages are installed; the tests ask, to skip with the reason.
check_machine() {
  check_root
  if [ ! -e "$BIN/.complete" ]; then check_go; fi
  check_kernel
  unshare --net --mount --ipc true 2> /dev/null || die "this machine gives root no namespaces of its own (a container without privileges?)."
  check_disk --images
}

install_packages() {
  check_root
  command -v apt-get > /dev/null || die "packages are installed by apt-get, and this is no Debian; README.md names what is needed."
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $APT_PACKAGES $APT_BUILD_PACKAGES $APT_IMAGE_PACKAGES > /dev/null
}

check_commands() {
  local missing=() name
  for name in containerd ctr runc iptables ipset conntrack ethtool socat curl openssl nsenter unshare ip flock python3; do
    command -v "$name" > /dev/null || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}. Remedy: apt-get install -y --no-install-recommends $APT_PACKAGES"
}

check_go() {
  local version
  command -v go > /dev/null || die "Go 1.26 or later is needed to compile the cluster once: https://go.dev/dl/"
  version=$(go env GOVERSION) # go1.26.8
  [[ $version =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 26 ] ||
    die "Go 1.26 or later is needed to compile the cluster once, and this is $version: https://go.dev/dl/"
}

check_engine() {
  command -v docker || command -v podman || command -v buildah ||
    die "Docker, Podman or Buildah is needed to build our images: apt-get install -y --no-install-recommends $APT_IMAGE_PACKAGES"
} > /dev/null

check_java() {
  command -v mvn > /dev/null && command -v java > /dev/null ||
    die "Maven and Java 17 are needed once, for the S3 server: apt-get install -y --no-install-recommends $APT_BUILD_PACKAGES"
}

check_kernel() {
  grep -qw overlay /proc/filesystems || modprobe overlay 2> /dev/null || die "the kernel has no overlayfs (modprobe overlay)."
  [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe br_netfilter 2> /dev/null ||
    die "the kernel filters no bridged packets, which Services need (modprobe br_netfilter)."
  [ "$(cgroup_version)" != none ] || die "/sys/fs/cgroup is neither cgroup v1 nor v2."
}

# The images take most of it, the first time: in the builder's storage, in its layout, in the cluster's store.
check_disk() {
  local free_gib needed_gib=6
  mkdir -p "$CACHE"
  free_gib=$(($(df --output=avail -k "$CACHE" | tail -1) / 1048576))
  if [ "${1:-}" = --images ] && ! grep -qs "\"$TRAIN_IMAGE\"" "$CACHE/images/layout/index.json"; then needed_gib=40; fi
  [ "$free_gib" -ge $needed_gib ] ||
    die "$CACHE has $free_gib GiB free and $needed_gib are needed; set SPHINX_X_CACHE to a larger disk (without our images 6 do: cluster up)."
}

cgroup_version() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo 2
  elif [ -d /sys/fs/cgroup/memory ]; then
    echo 1
  else
    echo none
  fi
}
