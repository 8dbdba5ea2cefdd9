#!/usr/bin/env bash
# Both sides of the CPU comparison, interleaved on the same cores, and a table.
# usage: bench/cpu.sh [sft binary] [rounds]       PYTHON=… names a Python that has torch and transformers
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-build/sft}
rounds=${2:-3}
python=${PYTHON:-.venv/bin/python}
work=out/bench
lines=$work/cpu.jsonl
one="$python bench/cpu_vs_transformers.py"

mkdir -p "$work"
: >"$lines"
[ -e "$work/model/data/train.jsonl" ] || $one make "$work/model"

echo "command: $0 $*"
echo "commit:  $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $(nproc) cores"
$one peak >>"$lines"
for round in $(seq "$rounds"); do
  for batch in 1 4; do
    for side in transformers sft; do
      $one $side "$work/model" --batch "$batch" --binary "$binary" 2>"$work/$side.log" | grep "^{\"side\"" | tail -n 1 | tee -a "$lines"
    done
  done
done
$one peak >>"$lines"
echo
$one table "$lines"
