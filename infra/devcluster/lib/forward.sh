# Shows a service of the cluster on this machine's loopback, for a browser: the cluster itself has no way out. Sourced by ../cluster.
# shellcheck shell=bash

forward() {
  local name=${1:-} port address
  case $name in
    mlflow) port=${2:-5000} ;;
    s3) port=${2:-9000} ;;
    *) die "forward: say mlflow or s3." ;;
  esac
  address=$(enter kubectl -n $SERVICES_NAMESPACE get service "$name" -o 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}' 2> /dev/null) ||
    die "forward: $name is not installed; see \`cluster status\`."
  say "http://127.0.0.1:$port until Ctrl-C"
  # Every connection is carried by a process in the cluster's network; on loopback, so that nobody else can connect.
  socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" EXEC:"$HERE/cluster run socat STDIO TCP\\:${address/:/\\:}"
}
