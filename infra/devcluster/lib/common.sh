# Talking to a person, waiting with a limit, showing progress. Sourced by ../cluster.
# shellcheck shell=bash

SECONDS=${DEVCLUSTER_SECONDS:-0} # `up` enters the cluster as a second process; its clock goes on

say() { printf '%s\n' "$*"; }
die() {
  printf 'cluster: %s\n' "$*" >&2
  exit 1
}
elapsed() { clock "$SECONDS"; }
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# Two `up` or `down` at once would tear at the same processes. The lock ends with this process.
take_lock() {
  mkdir -p "$CACHE" "$LOGS"
  exec 9> "$CACHE/lock"
  flock -n 9 || die "another cluster command is at work on $CACHE; wait for it to end."
}

# Reads standard input into a file, and touches the file only when something changes: kube-proxy ends when its file is rewritten.
put() {
  local new
  mkdir -p "$(dirname "$1")"
  new=$(mktemp "$1.XXXX")
  cat > "$new"
  if cmp -s "$new" "$1"; then rm "$new"; else chmod 644 "$new" && mv "$new" "$1"; fi
}

# wait_for SECONDS LOG WHAT COMMAND...: one line with the time when the command succeeds, one sentence when it does not in time.
wait_for() {
  local limit=$1 log=$2 what=$3 began=$SECONDS
  shift 3
  until "$@" > /dev/null 2>&1; do
    [ $((SECONDS - began)) -lt "$limit" ] || die "$what: not within $limit s; see $log."
    sleep 0.2
  done
  say "  $(elapsed)  $what"
}

# with_progress LABEL LOG COMMAND...: runs a long command, its output in the log; on a terminal the elapsed time goes on counting.
with_progress() {
  local label=$1 log=$2 began=$SECONDS pid
  shift 2
  "$@" > "$log" 2>&1 9>&- &
  pid=$!
  [ -t 1 ] || say "  $(elapsed)  $label ..."
  while kill -0 "$pid" 2> /dev/null; do
    if [ -t 1 ]; then printf '\r  %s  %s, %s ' "$(elapsed)" "$label" "$(clock $((SECONDS - began)))"; fi
    sleep 1
  done
  wait "$pid" || { [ ! -t 1 ] || echo; die "$label failed; see $log."; }
  if [ -t 1 ]; then printf '\r  %s  %s, took %s \n' "$(elapsed)" "$label" "$(clock $((SECONDS - began)))"; fi
}
