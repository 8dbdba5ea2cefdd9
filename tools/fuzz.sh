#!/usr/bin/env bash
# Builds the fuzz targets with clang's sanitizers and runs each for a while; prints executions and time, and fails on a finding.
# usage: tools/fuzz.sh [seconds for each target] [target ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}; shift || true
targets=("$@"); [ ${#targets[@]} -gt 0 ] || targets=(jinja tokenizer rows parquet card)
tools/install_deps.sh build fuzz
CC=clang-19 CXX=clang++-19 cmake -S . -B build-fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSFT_FUZZ=ON -DSFT_CUDA=OFF -DSFT_TESTS=OFF >/dev/null
cmake --build build-fuzz -j "${JOBS:-$(nproc)}" --target "${targets[@]/%/_fuzz}"
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
for target in "${targets[@]}"; do
  work=build-fuzz/corpus/$target; mkdir -p "$work"
  # A finding leaves its input in build-fuzz as crash-*, timeout-* or oom-*.
  build-fuzz/${target}_fuzz -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=20000 -print_final_stats=1 \
    -artifact_prefix=build-fuzz/ "$work" "tests/fuzz/corpus/$target" 2>build-fuzz/$target.log || { tail -n 40 build-fuzz/$target.log; exit 1; }
  echo "$target: $(grep -o 'number_of_executed_units: [0-9]*' build-fuzz/$target.log | grep -o '[0-9]*$') executions in $seconds s, no finding"
done
