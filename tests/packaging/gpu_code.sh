#!/usr/bin/env bash
# The code inside a library of the CUDA half is listed as NVIDIA's cuobjdump lists it, and a library that a promised card cannot run is
# no package. The two files are what nvcc 12.4 and 13.0 made of one kernel. usage: gpu_code.sh <source folder>      77 without python3
set -euo pipefail
source=$1
command -v python3 >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0
list=$source/packaging/gpu_code.py

same() {  # what holds, found, wanted
  [ "$2" = "$3" ] || { echo "$1: found \"$2\", wanted \"$3\""; failures=$((failures + 1)); }
}
names() { "$list" "$1" | awk '{$1 = ""; sub(/ [0-9]+ units.*/, ""); gsub(/ +/, " "); print}' | tr -d '\n'; }
same "code by CUDA 12.4" "$(names "$source/tests/packaging/code_of_cuda12.fatbin")" " 70 80 90a"
same "code by CUDA 13.0" "$(names "$source/tests/packaging/code_of_cuda13.fatbin")" " 75 90a 120 PTX 120"

# 8.0's code runs on 8.6 and 8.9; that of 9.0a on 9.0 alone; PTX is no machine code.
cp "$source/tests/packaging/code_of_cuda12.fatbin" "$folder/libsft_cuda12.so"
same "every card of CUDA 12 is served" "$("$list" "$folder/libsft_cuda12.so" | grep -c 'no machine code' || true)" 0
cp "$source/tests/packaging/code_of_cuda13.fatbin" "$folder/libsft_cuda13.so"
same "cards without code are named" "$("$list" "$folder/libsft_cuda13.so" | grep -oE 'capability [0-9.]+' | tr '\n' ' ')" \
  "capability 8.0 capability 8.6 capability 8.9 capability 10.0 "
"$list" "$folder/libsft_cuda13.so" >/dev/null && { echo "a library without code for 8.0 passed"; failures=$((failures + 1)); }
# One unit of two has all: the other is what counts.
cat "$source/tests/packaging/code_of_cuda12.fatbin" "$source/tests/packaging/code_of_cuda13.fatbin" >"$folder/libsft_cuda12.so"
same "each unit is looked at" "$("$list" "$folder/libsft_cuda12.so" | grep -c '1 of 2 units' || true)" 4
printf 'no code' >"$folder/libsft_cuda12.so"
"$list" "$folder/libsft_cuda12.so" >"$folder/out" && { echo "a library without code passed"; failures=$((failures + 1)); }

# What is compiled for serves what is promised, by the same rule.
for cuda in 12 13; do
  python3 - "$source/packaging" "$cuda" <<'END' || failures=$((failures + 1))
import sys
sys.path.insert(0, sys.argv[1])
from gpu_code import COMPILED, MACHINE_CODE, PROMISED, Code, runs_on
cuda = int(sys.argv[2])
codes = [Code(MACHINE_CODE, int(name.split("-")[0].rstrip("a")), "a" in name.split("-")[0], 1) for name in COMPILED[cuda].split(";")]
without = [card for card in PROMISED[cuda] if not any(runs_on(code, card) for code in codes)]
assert not without, f"CUDA {cuda} is compiled for nothing that runs on {without}"
END
done
[ $failures -eq 0 ] && echo "9 passed, 0 failed"
exit $failures
