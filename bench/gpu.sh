#!/usr/bin/env bash
# One GPU: the table of docs/benchmarks.md, beside the card's floor (matmuls and attention alone) measured in the same call.
# usage: bench/gpu.sh SFT TOKENIZER_DIR CHATS.jsonl TRAINING_TEMPLATE.jinja [FLOOR.py]
set -uo pipefail
cd "$(dirname "$0")/.."
sft=$1 tokenizer=$2 chats=$3 template=$4 floor=${5:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
half=bench/models/qwen2.5-0.5b.json

echo "command: $0 $*; commit ${COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}"
nvidia-smi --query-gpu=name --format=csv,noheader
[ -z "$floor" ] || python3 "$floor" | cut -c1-400

bench() {
  echo "== $1"
  timeout 120 "$sft" bench "${@:2}" 2>&1 | sed -n 2,3p
}
bench "0.5B 32 x 1024, 16 micro-batches" --model $half --seq 1024 --batch 32 --gradient_accumulation_steps 16 --steps 2
bench "0.5B 8 x 4096, 16 micro-batches" --model $half --seq 4096 --batch 8 --gradient_accumulation_steps 16 --steps 2
bench "1.5B 16 x 1024, 16 micro-batches" --model bench/models/qwen2.5-1.5b.json --seq 1024 --batch 16 --gradient_accumulation_steps 16 --steps 2
bench "0.5B 32 x 1024, 40 % trained" --model $half --seq 1024 --batch 32 --gradient_accumulation_steps 8 --steps 2 --trained_share 0.4
bench "0.5B 8 x 1024, float32" --model $half --seq 1024 --batch 8 --steps 1 --bf16 false
bench "0.5B 8 x 1024, TensorFloat-32" --model $half --seq 1024 --batch 8 --steps 1 --bf16 false --tf32

python3 bench/random_model.py $half "$tokenizer" "$work/model"
python3 bench/data_rows.py "$chats" 20000 "$work/rows.jsonl"
cat "$work/model/model.safetensors" "$work/rows.jsonl" >/dev/null
# rate OUT FIRST LAST: real tokens a second between two logged steps, by the clock
rate() {
  python3 - "$@" <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "/metrics.jsonl")]
log = {e["step"]: e for e in lines if e["k"] == "log"}
first, last = (log[int(step)] for step in sys.argv[2:4])
print(f'{(last["num_tokens"] - first["num_tokens"]) / (last["t"] - first["t"]):.0f} real tokens/s')
PYTHON
}
train() { "$sft" --model_name_or_path "$work/model" --dataset_name "$work/rows.jsonl" --do_train --output_dir "$work/out" "$@" >"$work/log" 2>&1 || tail -n 3 "$work/log"; }
echo "== the tutorial's command, 10 steps, from the start of the process"
for run in 1 2 3; do
  rm -rf "$work/out"
  begin=$(date +%s.%N)
  train --per_device_train_batch_size 4 --max_steps 10 --logging_steps 1
  python3 - "$begin" "$work/out" <<'PYTHON'
import os, sys, time
begin, over, out = float(sys.argv[1]), time.time(), sys.argv[2]
there = {name: os.stat(f"{out}/{name}").st_ctime - begin for name in ("model.safetensors", "checkpoint-10")}
print(f'model saved {there["model.safetensors"]:.2f} s, checkpoint complete {there["checkpoint-10"]:.2f} s, over {over - begin:.2f} s')
PYTHON
done
echo "== the same, 400 steps, no saving"
rm -rf "$work/out"
train --per_device_train_batch_size 4 --max_steps 400 --logging_steps 100 --save_strategy no
rate "$work/out" 100 400
for loss in ${LOSSES---assistant_only_loss --assistant_only_loss=false}; do
  echo "== packed rows of 1,024, 32 a micro-batch $loss"
  rm -rf "$work/out"
  train --packing --max_length 1024 --per_device_train_batch_size 32 --max_steps 50 --logging_steps 10 --save_strategy no \
    --chat_template_path "$template" $loss
  rate "$work/out" 20 50
done
echo "== checkpoints"
python3 bench/saves.py "$sft" "$work/model" "$work/rows.jsonl" "$work/out" --packing --max_length 1024 --per_device_train_batch_size 32
