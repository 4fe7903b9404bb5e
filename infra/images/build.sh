#!/usr/bin/env bash
# Build the images with whichever engine is there. Prints times and sizes; does nothing where nothing has changed.
#
#   build.sh [ops|train|base|all] [--engine docker|buildah|podman] [--base IMAGE] [--tag TAG] [--out DIR]
#
# --base   start from this image. Without it and without a reachable registry, Debian 12 by debootstrap (needs root).
# --tag    localhost/sphinx-x-<name>:<tag>; dev if not given
# --out    write the images into the OCI layout DIR, from where import.py brings them into a cluster's containerd
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${SPHINX_X_CACHE:-$HOME/.cache/sphinx-x}
default_base=docker.io/library/python:3.12-slim-bookworm
debian_base=localhost/sphinx-x-base:bookworm

fail() { echo "build.sh: $*" >&2; exit 2; }
took() { echo "  $1: $(($(date +%s) - began)) s"; }

names=() engine="" base="" tag=dev out=$cache/devcluster/images/layout
while [ $# -gt 0 ]; do
  case $1 in
    ops | train | base) names+=("$1") ;;
    all) names+=(ops train) ;;
    --engine) engine=$2; shift ;;
    --base) base=$2; shift ;;
    --tag) tag=$2; shift ;;
    --out) out=$2; shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || names=(ops train)

for candidate in docker podman buildah; do
  [ -z "$engine" ] || break
  command -v $candidate >/dev/null || continue
  [ $candidate != docker ] || docker version >/dev/null 2>&1 || continue
  engine=$candidate
done
[ -n "$engine" ] || fail "no docker, podman or buildah is here; install one (Debian: apt install buildah)."

mkdir -p "$cache/images" "$out"
exec 9>"$cache/images/lock"
flock 9

# One date for every file, whenever and wherever it is built: the same sources give the same layers.
epoch=${SOURCE_DATE_EPOCH:-315532800}
options=() certificates=()
case $engine in
  docker) run=(docker); options=(build --network host --build-arg "SOURCE_DATE_EPOCH=$epoch") ;;
  podman) run=(podman); options=(build --layers --format oci --timestamp "$epoch") ;;
  buildah)
    run=(buildah --root "$cache/images/storage" --runroot "$cache/images/run" --storage-driver overlay)
    options=(build --layers --format oci --timestamp "$epoch" --isolation chroot)
    options+=(-v /etc/resolv.conf:/etc/resolv.conf:ro) # a chroot lacks the host's
    ;;
esac
# Behind a proxy with a certificate of its own, this machine knows it and the base does not. Docker: put it into a base of yours.
if [ $engine != docker ] && [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  certificates=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
fi
# Wheels that this machine already has. The folder is always there: an argument more or less would be another layer.
if [ $engine != docker ]; then
  wheels=${UV_CACHE_DIR:-$HOME/.cache/uv}
  mkdir -p "$wheels"
  options+=(-v "$wheels:/host-uv-cache" --build-arg UV_CACHE_DIR=/host-uv-cache)
fi

has() { "${run[@]}" inspect ${2:---type image} "$1" >/dev/null 2>&1; }
id_of() {
  case $engine in
    buildah) "${run[@]}" inspect --type image --format '{{.FromImageID}}' "$1" ;;
    *) "${run[@]}" image inspect --format '{{.Id}}' "$1" ;;
  esac
}

build_base() {
  command -v debootstrap >/dev/null || fail "debootstrap is missing, which makes the base where no registry is reachable (apt install debootstrap)."
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root; run as root, or give --base an image that is already here."
  local tree began
  began=$(date +%s)
  tree=$(mktemp -d "$cache/images/base.XXXX")
  trap "rm -rf '$tree'" EXIT
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$tree/root" >"$tree/log" 2>&1 \
    || { tail -5 "$tree/log" >&2; fail "debootstrap failed; see above."; }
  rm -rf "$tree"/root/{dev,proc,sys}/* "$tree"/root/var/cache/apt/archives/*.deb
  tar -C "$tree/root" --numeric-owner -cf "$tree/base.tar" .
  rm -rf "$tree/root"
  "${run[@]}" "${options[@]}" -t $debian_base -f "$here/base.Dockerfile" "$tree" >"$cache/images/base.log" 2>&1 \
    || { tail -20 "$cache/images/base.log" >&2; fail "the base could not be built."; }
  rm -rf "$tree"
  took base
}

choose_base() {
  [ -z "$base" ] || return 0
  if has $debian_base; then base=$debian_base; return; fi
  if has $default_base || timeout 60 "${run[@]}" pull -q $default_base >/dev/null 2>&1; then base=$default_base; return; fi
  echo "No registry answers: the base is Debian 12 by debootstrap."
  build_base
  base=$debian_base
}

# What an image is made of, as one digest.
inputs_of() {
  {
    id_of "$base"
    echo "$sha $version $epoch $engine"
    cat "$root/.dockerignore" "$here/$1.Dockerfile" "$here/uv.txt" "$here/sphinx-x" "$root/pyproject.toml" "$root/uv.lock"
    cd "$root"
    find model components pipelines -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -c1-64
}

export_to_layout() {
  local image=$1 ref=$2
  case $engine in
    buildah) "${run[@]}" push -q --disable-compression "$image" "oci:$out:$ref" ;;
    podman) podman push -q "$image" "oci:$out:$ref" ;;
    docker) docker save "$image" | python3 "$here/import.py" --from-docker "$out" "$ref" ;;
  esac
}

build_image() {
  local name=$1 image=localhost/sphinx-x-$1:$tag began inputs packages
  began=$(date +%s)
  inputs=$(inputs_of "$name")
  packages=$(cat "$here/$name.Dockerfile" "$root/uv.lock" | sha256sum)
  if [ "$(cat "$out/$name-$tag.inputs" 2>/dev/null)" = "$inputs" ]; then
    echo "$image: nothing has changed."
    return
  fi
  echo "$image from $base by $engine"
  [ "$(cat "$cache/images/$name.packages" 2>/dev/null)" = "$packages" ] || make_room "$name" "$image"
  "${run[@]}" "${options[@]}" "${certificates[@]}" --build-arg BASE="$base" --build-arg GIT_SHA="$sha" --build-arg VERSION="$version" \
    -t "$image" -f "$here/$name.Dockerfile" "$root" >"$cache/images/$name.log" 2>&1 \
    || { tail -30 "$cache/images/$name.log" >&2; fail "$name could not be built; the whole log is $cache/images/$name.log."; }
  took build
  export_to_layout "$image" "$image"
  python3 "$here/import.py" --tidy "$out" "$image"
  took "with the layout in $out"
  echo "$inputs" >"$out/$name-$tag.inputs"
  if [ "$(cat "$cache/images/$name.packages" 2>/dev/null)" != "$packages" ]; then
    [ $engine != buildah ] || "${run[@]}" rmi --prune >/dev/null 2>&1 || true # gigabytes of the packages before
    echo "$packages" >"$cache/images/$name.packages"
  fi
}

# Where the packages have changed, much may be built anew. The old layers stay as long as there is room: with them goes the cache.
make_room() {
  local name=$1 image=$2 needed_gb=8
  [ "$name" != train ] || needed_gb=20
  [ $engine != buildah ] || "${run[@]}" rm -a >/dev/null # of builds that were interrupted
  if [ "$(free_gb)" -lt $needed_gb ] && [ $engine = buildah ]; then
    "${run[@]}" rmi -f "$image" >/dev/null 2>&1 || true
    "${run[@]}" rmi --prune >/dev/null 2>&1 || true
  fi
  [ "$(free_gb)" -ge $needed_gb ] \
    || fail "$name needs $needed_gb GB of disk while it is built, and $cache has $(free_gb) GB free; make room, or set SPHINX_X_CACHE."
}

free_gb() { echo $(($(df --output=avail -k "$cache" | tail -1) / 1000000)); }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml" | head -1)
sha=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
[ -z "$(git -C "$root" status --porcelain -- model components pipelines pyproject.toml uv.lock infra/images 2>/dev/null)" ] || sha+=-changed

for name in "${names[@]}"; do
  if [ "$name" = base ]; then build_base; continue; fi
  choose_base
  build_image "$name"
done
