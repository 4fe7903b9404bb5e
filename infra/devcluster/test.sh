#!/usr/bin/env bash
# Runs the tests that need a Kubernetes: on the cluster of KUBECONFIG, or in the development cluster, which is started if need be.
#   test.sh [PYTEST ARGUMENTS]
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
export OMP_NUM_THREADS=1 DS_ACCELERATOR=cpu
[ $# -gt 0 ] || set -- tests/cluster
test=(python -m pytest -m cluster --timeout 900 -rs "$@")

if [ -n "${KUBECONFIG:-}" ]; then
  command -v kubectl > /dev/null || { echo "test.sh: kubectl is not on PATH." >&2 && exit 1; }
  timeout 20 kubectl version > /dev/null || { echo "test.sh: the cluster of KUBECONFIG=$KUBECONFIG does not answer." >&2 && exit 1; }
  exec "${test[@]}"
fi
"$HERE/cluster" up --images
# Where the kernel lets the cluster enforce NetworkPolicies, tests of them must not be skipped.
if ipset list -name > /dev/null 2>&1; then export SPHINX_X_TEST_POLICIES=enforced; fi
exec "$HERE/cluster" run "${test[@]}"
