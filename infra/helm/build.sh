#!/usr/bin/env bash
# Builds helm, or promtool for the tests of the chart's rules, from its Go module, once per version, and prints the path of the binary.
#
#   infra/helm/build.sh [helm|promtool]           build if the cache lacks it, print the path
#   infra/helm/build.sh [helm|promtool] --path    print the path only; exit status 1 where it is not built
#
# The checksum database of Go vouches for the modules; nothing is fetched but modules.
set -euo pipefail

tool=helm
[[ "${1:-}" != helm && "${1:-}" != promtool ]] || { tool=$1; shift; }

case $tool in
    helm)
        version=v3.21.4
        package=helm.sh/helm/v3/cmd/helm
        set_to="-X helm.sh/helm/v3/internal/version.version=$version"
        # What `helm template` and `helm lint` take a cluster to be when there is none; the same line as the client library's.
        for place in pkg/lint/rules pkg/chartutil; do
            set_to+=" -X helm.sh/helm/v3/$place.k8sVersionMajor=1 -X helm.sh/helm/v3/$place.k8sVersionMinor=36"
        done
        ;;
    promtool)
        version=v0.316.0
        package=github.com/prometheus/prometheus/cmd/promtool
        set_to=""
        ;;
esac

cache="${SPHINX_X_CACHE:-$HOME/.cache/sphinx-x}/bin"
binary="$cache/$tool-$version"

if [[ "${1:-}" == --path ]]; then
    echo "$binary"
    [[ -x "$binary" ]]
    exit
fi

if [[ ! -x "$binary" ]]; then
    command -v go >/dev/null || {
        echo "$tool is built from its Go module, and there is no Go on the PATH: install Go 1.26 or newer from https://go.dev/dl." >&2
        exit 1
    }
    mkdir -p "$cache"
    scratch="$(mktemp -d "$cache/.$tool-build.XXXXXX")"
    trap 'rm -rf "$scratch"' EXIT
    echo "building $tool $version (some minutes of two cores, once)" >&2
    # -p 2: other builds may run beside this one. The tag leaves out promtool's clients of every cloud.
    CGO_ENABLED=0 GOBIN="$scratch" nice -n 10 \
        go install -p 2 -trimpath -tags remove_all_sd -ldflags "-s -w $set_to" "$package@$version" >&2
    mv "$scratch/$tool" "$binary"
fi
echo "$binary"
