#!/usr/bin/env bash
# Makes .venv where it is missing and installs the named Python packages into it, without their dependencies when
# the first argument is --no-deps. Fails quietly enough that a caller can go on without them.
# usage: tools/python_env.sh [--no-deps] package ...
set -euo pipefail
cd "$(dirname "$0")/.."
options=()
if [ "${1:-}" = --no-deps ]; then options=(--no-deps); shift; fi

if [ ! -x .venv/bin/pip ]; then
  if ! python3 -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv
    as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    python3 -m venv .venv
  fi
fi
.venv/bin/pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 "${options[@]}" "$@"
