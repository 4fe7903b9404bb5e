#!/usr/bin/env bash
# Bring the locked environment into .venv: uv is used where it is, else fetched into .venv/uv. Says in one sentence what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "sphinx-x setup: $*" >&2; exit 2; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "python3 is missing; install Python 3.11 or later (Debian: apt install python3 python3-venv)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version) is too old; install Python 3.11 or later and run again with PYTHON=/path/to/python3."

stamp=.venv/.synced-$(cat pyproject.toml uv.lock | sha256sum | cut -c1-16)
[ -e "$stamp" ] && exit 0

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  [ -x .venv/uv/bin/uv ] || { "$python" -m venv .venv/uv && .venv/uv/bin/pip install --quiet --disable-pip-version-check uv; } \
    || fail "uv could not be installed into .venv/uv; check the network, or that Python has venv (Debian: apt install python3-venv)."
  uv=$PWD/.venv/uv/bin/uv
fi
echo "Installing the locked environment into .venv (about 7 GB, once) ..."
[ -x .venv/bin/python ] || "$uv" venv --quiet --allow-existing --python "$python" .venv
"$uv" sync --frozen --quiet --extra all
rm -f .venv/.synced-*
touch "$stamp"
