#!/usr/bin/env bash
# One GPU: adapters over bases in 16 bits, NF4 and float8, beside the card's floor measured in the same call (docs/benchmarks.md).
# usage: bench/adapters.sh SFT [FLOOR.py]
set -uo pipefail
sft=$1 floor=${2:-}
models=$(cd "$(dirname "$0")" && pwd)/models

echo "command: $0 $*; commit ${COMMIT:-$(git rev-parse --short HEAD 2>/dev/null)}"
nvidia-smi --query-gpu=name --format=csv,noheader
[ -z "$floor" ] || timeout 200 python3 "$floor" 0.5B 1.5B 7B | cut -c1-400

bench() {
  echo "== $1"
  timeout 120 "$sft" bench --model "$models/$2" --lora_r 16 --seq "$3" --batch "$4" "${@:5}" 2>&1 | grep "tokens/s,"
}
nf4="--load_in_4bit --use_bnb_nested_quant"
bench "0.5B LoRA, 32 rows" qwen2.5-0.5b.json 1024 32 --steps 8
bench "1.5B LoRA, 16 rows" qwen2.5-1.5b.json 1024 16 --steps 8
bench "7B LoRA, 8 rows" qwen2.5-7b.json 1024 8 --steps 6
bench "7B QLoRA NF4, 8 rows" qwen2.5-7b.json 1024 8 --steps 6 $nf4
bench "7B LoRA, fp8 base, 8 rows" qwen2.5-7b.json 1024 8 --steps 6 --base_dtype fp8
bench "7B QLoRA, blocks recomputed, 16 rows" qwen2.5-7b.json 1024 16 --steps 4 $nf4 --gradient_checkpointing block
bench "the same, residuals offloaded" qwen2.5-7b.json 1024 16 --steps 4 $nf4 --gradient_checkpointing block --activation_offloading
bench "the same, the MLP 4,096 tokens at a time" qwen2.5-7b.json 1024 16 --steps 4 $nf4 --gradient_checkpointing block --mlp_tile 4096
bench "Qwen3-0.6B LoRA, 2 x 2,048, 4 accumulated" qwen3-0.6b.json 2048 2 --gradient_accumulation_steps 4 --steps 6
bench "Qwen3-8B LoRA, 2 x 2,048, 4 accumulated" qwen3-8b.json 2048 2 --gradient_accumulation_steps 4 --steps 4
bench "70B QLoRA NF4, 4 rows" llama-3-70b.json 1024 4 --steps 2 $nf4
bench "70B QLoRA NF4, 8 rows, blocks recomputed" llama-3-70b.json 1024 8 --steps 2 $nf4 --gradient_checkpointing block
