#!/usr/bin/env bash
# The data path: rate of preparation against TRL's, and the time to the first step with few and with
# many rows.
# usage: bench/data.sh SOURCE.jsonl TOKENIZER_DIR TEMPLATE.jinja [build folder]
#   PYTHON=…  a Python with pyarrow; with datasets, transformers and TRL too for the comparison, which also
#   needs MODEL=… a small model folder with the same tokenizer and template.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$1 tokenizer=$2 template=$3 build=${4:-build}
python=${PYTHON:-.venv/bin/python}
work=${WORK:-out/bench-data}
mkdir -p "$work"
rows() { [ -e "$work/$2" ] || "$python" bench/data_rows.py "$source" "$1" "$work/$2" "${@:3}"; }
rows 200000 rows.parquet
for kind in jsonl parquet; do
  rows 1000 few.$kind --most-characters 700
  rows 100000 many.$kind --most-characters 700 --repeat 50
done
cat "$work"/few.* "$work"/many.* "$work"/rows.parquet >/dev/null # the page cache is warm

echo "command: $0 $*"
echo "commit:  $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $(nproc) cores"

echo "== parquet to packed batches, one core, then two (CPU seconds count, where the machine is shared)"
for round in 1 2 3; do
  if [ -n "${MODEL:-}" ]; then
    taskset -c 0 "$python" bench/data_trl.py "$MODEL" "$work/rows.parquet" 3000 2>/dev/null | tail -n 1
  fi
  for threads in 1 2; do
    taskset -c 0-$((threads - 1)) "$build/bench/data_bench" "$tokenizer" "$template" "$work/rows.parquet" $threads packing 2>/dev/null
  done
done

echo "== first step: seconds from the start of the process, and anonymous memory then"
export SFT_CACHE=$work/cache
for data in few.jsonl many.jsonl few.parquet many.parquet; do
  for mode in "" "--packing --dataset_order windowed"; do
    for round in 1 2 3; do
      bench/first_step.py "$build/sft" --model_name_or_path examples/tiny-model --dataset_name "$work/$data" \
        --max_length 256 --per_device_train_batch_size 4 --max_steps 3 --logging_steps 1 --save_strategy no \
        --output_dir "$work/run" $mode | sed "s/^/$data ${mode:-unpacked}: /"
    done
  done
done
