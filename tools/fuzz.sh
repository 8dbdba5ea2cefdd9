#!/usr/bin/env bash
# Builds the fuzz targets with clang's sanitizers and runs each for a while; prints executions, time and the most memory, and fails on a
# finding. More memory than the limit of a target is one.
# usage: tools/fuzz.sh [seconds for each target] [target ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}; shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(jinja chat tokenizer rules rows parquet card safetensors gguf config recipe sharding checkpoint hub messages adapter packed)
build=$PWD/build-sanitize-address
tools/sanitize_build.sh address
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]/%/_fuzz}" >/dev/null
export ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# MiB, under the address sanitizer, which takes some times what the program does. Templates may hold 128 MiB, Arrow 256 MiB.
limit_of() {
  case $1 in
    jinja | chat | tokenizer | rules) echo 1200 ;;
    parquet) echo 2000 ;;
    *) echo 1000 ;;
  esac
}
failed=0
for target in "${targets[@]}"; do
  work=$build/corpus/$target; mkdir -p "$work"
  # A finding leaves its input in the build folder as TARGET-crash-*, -timeout-* or -oom-*.
  words=()
  case $target in
    jinja | chat) words=(-dict=tests/fuzz/dictionaries/chat.dict) ;;
    tokenizer | rules) words=(-dict=tests/fuzz/dictionaries/rules.dict) ;;
  esac
  if "$build/${target}_fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb="$(limit_of "$target")" "${words[@]}" -max_len=30000 -print_final_stats=1 \
    -artifact_prefix="$build/$target-" "$work" "tests/fuzz/corpus/$target" 2>"$build/$target.log"; then
    stat() { grep -o "$1: *[0-9]*" "$build/$target.log" | grep -o '[0-9]*$'; }
    echo "$target: $(stat number_of_executed_units) executions in $seconds s, at most $(stat peak_rss_mb) MiB, no finding"
  else
    tail -n 40 "$build/$target.log"; failed=1
  fi
done
exit $failed
