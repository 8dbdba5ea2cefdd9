#!/usr/bin/env bash
# One GPU against all: tokens a second and memory at each stage of ZeRO, one micro-batch a step, random weights.
# usage: bench/gpus.sh SFT RANKS [0.5b|3b|7b]...            (all three when none is named)
#   FLAGS=… more flags for the ranks (--copy_engines=false); LIMIT=… seconds for one of them; COMMIT=… where git does not know it
set -uo pipefail
cd "$(dirname "$0")/.."
sft=$1 ranks=$2
shift 2
models=${*:-0.5b 3b 7b}
one=
rate=$(mktemp)
trap 'rm -f "$rate"' EXIT

# figures NAME WORDS...: a line of what `sft WORDS --json` found, and its share of `ranks` times the line called "one GPU"
figures() {
  local name=$1 json
  shift
  if ! json=$(timeout "${LIMIT:-150}" "$sft" "$@" --json 2>&1); then
    echo "$name: failed: $json"
    return 1
  fi
  python3 - "$name" "$one" "$json" "$rate" <<'PYTHON'
import json, sys
name, one, text, rate = sys.argv[1:5]
r = json.loads(text[text.index("{"):])
share = f'{100 * r["tokens_per_s"] / (r["ranks"] * float(one)):6.1f} % of linear' if one and r["ranks"] > 1 else ""
print(f'{name:44} {r["tokens_per_s"]:10.0f} tokens/s {1e3 * r["step_s"]:8.1f} ms '
      f'{r["memory_bytes"] / 2**30:6.1f} GiB ({r["planned_bytes"] / 2**30:.1f} planned) {share}', flush=True)
open(rate, "w").write(str(r["tokens_per_s"]))
PYTHON
}
bench() { figures "$1" bench --model "bench/models/qwen2.5-$2.json" "${@:3}"; }
launch() { figures "$1" launch --nproc_per_node "$ranks" bench --model "bench/models/qwen2.5-$2.json" "${@:3}" ${FLAGS:-}; }

echo "command: ${FLAGS:+FLAGS=$FLAGS }$0 $sft $ranks $models; commit ${COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}"
nvidia-smi --query-gpu=name --format=csv,noheader
for model in $models; do
  one=
  case $model in
  0.5b)
    work=(--seq 1024 --batch 32 --steps 12)
    bench "0.5B 32 x 1024: one GPU" 0.5b "${work[@]}" && one=$(cat "$rate")
    for stage in 0 1 2 3; do
      launch "0.5B 32 x 1024: $ranks GPUs, zero_stage $stage" 0.5b "${work[@]}" --zero_stage $stage
    done
    ;;
  3b)
    work=(--seq 1024 --batch 16 --steps 8 --gradient_checkpointing ${RECOMPUTE:-mlp})
    bench "3B 16 x 1024: one GPU" 3b "${work[@]}" && one=$(cat "$rate")
    for stage in 1 2 3; do
      launch "3B 16 x 1024: $ranks GPUs, zero_stage $stage" 3b "${work[@]}" --zero_stage $stage
    done
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
