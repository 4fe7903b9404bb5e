#!/usr/bin/env bash
# Builds helm from its Go module, once per version, and prints the path of the binary. No helm package is needed.
#
#   infra/helm/build.sh            build if the cache lacks it, print the path
#   infra/helm/build.sh --path     print the path only; exit status 1 where it is not built
#
# The checksum database of Go vouches for the module; nothing is fetched but modules.
set -euo pipefail

version=v3.21.4
# What `helm template` and `helm lint` take a cluster to be when there is none; the same line as the client library's.
kubernetes_minor=36

cache="${SPHINX_X_CACHE:-$HOME/.cache/sphinx-x}/bin"
helm="$cache/helm-$version"

if [[ "${1:-}" == --path ]]; then
    echo "$helm"
    [[ -x "$helm" ]]
    exit
fi

if [[ ! -x "$helm" ]]; then
    command -v go >/dev/null || {
        echo "helm is built from its Go module, and there is no Go on the PATH: install Go 1.26 or newer from https://go.dev/dl." >&2
        exit 1
    }
    mkdir -p "$cache"
    scratch="$(mktemp -d "$cache/.helm-build.XXXXXX")"
    trap 'rm -rf "$scratch"' EXIT
    echo "building helm $version (some minutes of two cores, once)" >&2
    package=helm.sh/helm/v3
    set_to="-X $package/internal/version.version=$version"
    for place in pkg/lint/rules pkg/chartutil; do
        set_to+=" -X $package/$place.k8sVersionMajor=1 -X $package/$place.k8sVersionMinor=$kubernetes_minor"
    done
    # -p 2: other builds may run beside this one.
    CGO_ENABLED=0 GOBIN="$scratch" nice -n 10 go install -p 2 -trimpath -ldflags "-s -w $set_to" "$package/cmd/helm@$version" >&2
    mv "$scratch/helm" "$helm"
fi
echo "$helm"
