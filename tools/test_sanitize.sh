#!/usr/bin/env bash
# Builds everything under clang's sanitizers and runs every test: addresses, leaks and undefined behaviour, then threads.
# What is left out of the libraries that we use, and why, stands in tools/sanitize/*.supp.
# usage: tools/test_sanitize.sh [address|thread]...
set -euo pipefail
cd "$(dirname "$0")/.."
kinds=("$@"); [ ${#kinds[@]} -gt 0 ] || kinds=(address thread)
rules=$PWD/tools/sanitize
export ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1:strict_string_checks=1
export LSAN_OPTIONS=suppressions=$rules/leaks.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export OMP_TOOL=disabled  # OpenMP's own tool writes advice into the programs' output
export TSAN_OPTIONS=suppressions=$rules/threads.supp:halt_on_error=1:second_deadlock_stack=1:history_size=4:ignore_noninstrumented_modules=1
for kind in "${kinds[@]}"; do
  tools/sanitize_build.sh "$kind"
  cmake --build "build-sanitize-$kind" -j "${JOBS:-$(nproc)}"
  ctest --test-dir "build-sanitize-$kind" --output-on-failure -j "${JOBS:-$(nproc)}"
done
