#!/usr/bin/env bash
# Builds the fuzz targets with clang's sanitizers and runs each for a while; prints executions and time, and fails on a finding.
# usage: tools/fuzz.sh [seconds for each target] [target ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}; shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(jinja tokenizer rows parquet card safetensors gguf config recipe sharding checkpoint hub messages)
build=$PWD/build-sanitize-address
tools/sanitize_build.sh address
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]/%/_fuzz}" >/dev/null
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
failed=0
for target in "${targets[@]}"; do
  work=$build/corpus/$target; mkdir -p "$work"
  # A finding leaves its input in the build folder as TARGET-crash-*, -timeout-* or -oom-*.
  if "$build/${target}_fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=30000 -print_final_stats=1 \
    -artifact_prefix="$build/$target-" "$work" "tests/fuzz/corpus/$target" 2>"$build/$target.log"; then
    echo "$target: $(grep -o 'number_of_executed_units: [0-9]*' "$build/$target.log" | grep -o '[0-9]*$') executions in $seconds s, no finding"
  else
    tail -n 40 "$build/$target.log"; failed=1
  fi
done
exit $failed
