#!/usr/bin/env bash
# Configures the build of everything under sanitizers, with clang: build-sanitize-address (addresses, leaks, undefined
# behaviour; with the fuzz targets) or build-sanitize-thread. `make test-sanitize` and tools/fuzz.sh build and run them.
# usage: tools/sanitize_build.sh address|thread
set -euo pipefail
cd "$(dirname "$0")/.."
tools/install_deps.sh build test fuzz
options=(-DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSFT_CUDA=OFF)
case $1 in
  address) options+=(-DSFT_SANITIZE=address,undefined -DSFT_FUZZ=ON) ;;
  # Apache Arrow has threads of its own that the sanitizer does not see into.
  thread) options+=(-DSFT_SANITIZE=thread -DSFT_ARROW=OFF) ;;
  *) echo "address or thread?" >&2; exit 2 ;;
esac
cmake -S . -B "build-sanitize-$1" -G Ninja "${options[@]}" >/dev/null
