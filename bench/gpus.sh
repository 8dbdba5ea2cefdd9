#!/usr/bin/env bash
# All GPUs together against all of them busy alone at the same time (which is what "linear" means: cards differ, and share power
# and host): tokens a second and memory at each stage of ZeRO, one micro-batch a step, random weights.
# usage: bench/gpus.sh SFT RANKS [0.5b|3b|7b|part2]...      (the first three when none is named)
#   FLAGS=… more flags for the ranks (--copy_engines=false); PAIRED="A|B" runs each line with flags A and with flags B in turns,
#   ROUNDS=… times (2); STAGES=… (0 1 2 3); LIMIT=… seconds for one run; COMMIT=… where git does not know it
set -uo pipefail
cd "$(dirname "$0")/.."
sft=$1 ranks=$2
shift 2
models=${*:-0.5b 3b 7b}
linear=
rates=$(mktemp -d)
trap 'rm -rf "$rates"' EXIT

# line NAME JSON RATE_FILE: what `sft bench --json` found, and its share of $linear
line() {
  python3 - "$1" "$2" "$3" "$linear" <<'PYTHON'
import json, sys
name, text, rate, linear = sys.argv[1:5]
r = json.loads(text[text.index("{"):])
share = f'{100 * r["tokens_per_s"] / float(linear):6.1f} % of linear' if linear and r["ranks"] > 1 else ""
print(f'{name:44} {r["tokens_per_s"]:10.0f} tokens/s {1e3 * r["step_s"]:8.1f} ms '
      f'{r["memory_bytes"] / 2**30:6.1f} GiB ({r["planned_bytes"] / 2**30:.1f} planned) {share}', flush=True)
open(rate, "w").write(f'{r["tokens_per_s"]}\n')
PYTHON
}
# figures NAME RATE_FILE WORDS...: runs `sft WORDS --json` and prints its line
figures() {
  local name=$1 rate=$2 json
  shift 2
  if ! json=$(timeout "${LIMIT:-150}" "$sft" "$@" --json 2>&1); then
    echo "$name: failed: $json"
    return 1
  fi
  line "$name" "$json" "$rate"
}
# bench NAME MODEL WORDS...: one card alone
bench() { figures "$1" "$rates/one" bench --model "bench/models/qwen2.5-$2.json" "${@:3}"; }
# alone NAME MODEL WORDS...: every card at the same time, alone; their sum is $linear
alone() {
  linear=
  local rank pids=()
  for ((rank = 0; rank < ranks; ++rank)); do
    CUDA_VISIBLE_DEVICES=$rank bench_on "$1: GPU $rank, alone" "$rates/$rank" "${@:2}" &
    pids+=($!)
  done
  wait "${pids[@]}"
  linear=$(cat "$rates"/[0-9]* | awk '{ sum += $1 } END { print sum }')
  echo "$1: linear is $linear tokens/s"
}
bench_on() { figures "$1" "$2" bench --model "bench/models/qwen2.5-$3.json" "${@:4}"; }
launch() {
  local round flags
  if [ -z "${PAIRED:-}" ]; then
    figures "$1" "$rates/all" launch --nproc_per_node "$ranks" bench --model "bench/models/qwen2.5-$2.json" "${@:3}" ${FLAGS:-}
    return
  fi
  for ((round = 0; round < ${ROUNDS:-2}; ++round)); do
    for flags in "${PAIRED%%|*}" "${PAIRED#*|}"; do
      figures "$1 $flags" "$rates/all" launch --nproc_per_node "$ranks" bench --model "bench/models/qwen2.5-$2.json" "${@:3}" $flags
    done
  done
}

echo "command: ${FLAGS:+FLAGS=$FLAGS }$0 $sft $ranks $models; commit ${COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}"
nvidia-smi --query-gpu=name --format=csv,noheader
for model in $models; do
  case $model in
  0.5b)
    work=(--seq 1024 --batch 32 --steps 12)
    alone "0.5B 32 x 1024" 0.5b "${work[@]}"
    for stage in ${STAGES:-0 1 2 3}; do
      launch "0.5B 32 x 1024: $ranks GPUs, zero_stage $stage" 0.5b "${work[@]}" --zero_stage $stage
    done
    ;;
  3b)
    work=(--seq 1024 --batch 16 --steps 8 --gradient_checkpointing ${RECOMPUTE:-mlp})
    alone "3B 16 x 1024" 3b "${work[@]}"
    for stage in ${STAGES:-1 2 3}; do
      launch "3B 16 x 1024: $ranks GPUs, zero_stage $stage" 3b "${work[@]}" --zero_stage $stage
    done
    ;;
  part2) # the tutorial's second part: 3B, 11 rows x 6 micro-batches a GPU, stage 2, whole blocks recomputed
    work=(--seq 1024 --batch 11 --gradient_accumulation_steps 6 --steps 3 --gradient_checkpointing block)
    alone "3B 11 x 6 x 1024" 3b "${work[@]}"
    launch "3B 11 x 6 x 1024: $ranks GPUs, zero_stage 2" 3b "${work[@]}" --zero_stage 2
    ;;
  7b)
    work=(--seq 1024 --batch 8 --steps 3 --gradient_checkpointing block)
    bench "7B 8 x 1024: one GPU, bf16, 8-bit moments" 7b "${work[@]}" --dtype bfloat16 --optim adamw_8bit
    bench "7B 8 x 1024: one GPU, offload_optimizer" 7b "${work[@]}" --offload_optimizer
    launch "7B 8 x 1024: $ranks GPUs, zero_stage 3" 7b "${work[@]}" --zero_stage 3
    launch "7B 8 x 1024: $ranks GPUs, zero_stage 3, adamw_bf16" 7b "${work[@]}" --zero_stage 3 --optim adamw_bf16
    ;;
  esac
done
