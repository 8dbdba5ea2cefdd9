#!/usr/bin/env bash
# The libraries that the program loads, in an installed folder as it will be packed: two ranks train through Gloo's, and an error that
# one throws is caught in the program: a damaged parquet file, and for each library of the CUDA half a driver without a card. usage: packaging/check_runs.sh stage [folder with NVIDIA's libraries]...
set -euo pipefail
stage=$(realpath "$1")
shift
source=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
model=$source/examples/tiny-model
export HF_HUB_OFFLINE=1

ends() {  # what is tried, exit status, code of the error, command...
  local what=$1 status=$2 code=$3 found=0
  shift 3
  "$@" >"$folder/log" 2>&1 || found=$?
  if [ "$found" != "$status" ] || ! grep -qF "error[$code]" "$folder/log"; then
    echo "$what: should end with status $status and $code, and ended with $found:"
    cat "$folder/log"
    exit 1
  fi
}
if [ -e "$stage/lib/sft/libsft_arrow.so" ]; then
  head -c 300 "$source/tests/data/golden/mix/chat.parquet" >"$folder/broken.parquet"
  ends "a damaged parquet file" 3 D021 "$stage/bin/sft" inspect --model_name_or_path "$model" --dataset_name "$folder/broken.parquet"
fi
"$stage/bin/sft" launch --nproc_per_node 2 --use_cpu --model_name_or_path "$model" --dataset_name "$source/examples/data/shapes/alpaca.json" \
  --max_steps 1 --save_strategy no --output_dir "$folder/ranks" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
gcc -shared -fPIC -o "$folder/libcuda.so.1" "$source/tests/packaging/fake_driver.c"
libraries=$folder
for nvidia in "$@"; do libraries=$libraries:$(realpath "$nvidia"); done
for cuda in 12 13; do
  [ -e "$stage/lib/sft/libsft_cuda$cuda.so" ] || continue
  ends "CUDA $cuda without a card" 5 G020 env FAKE_CUDA=${cuda}000 LD_LIBRARY_PATH="$libraries" "$stage/bin/sft" \
    --model_name_or_path "$model" --dataset_name "$source/examples/data/shapes/alpaca.json" --max_steps 1 --output_dir "$folder/out"
done
echo "the loaded libraries work, and their errors are caught"
