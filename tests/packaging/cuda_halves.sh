#!/usr/bin/env bash
# Which library of the CUDA half runs, by the driver and by what NVIDIA's wheels bring: with libraries that only load.
# usage: cuda_halves.sh <sft> <folder of the fakes>
set -euo pipefail
sft=$1
fakes=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
packages=$folder/lib/python3.12/site-packages/nvidia
mkdir -p "$folder"/{bin,lib/sft,driver} "$packages"/{cu13,cublas}/lib
cp "$sft" "$folder/bin/sft"
cp "$fakes/libcuda.so.1" "$folder/driver/"
cp "$fakes/libsft_cuda12.so" "$fakes/libsft_cuda13.so" "$folder/lib/sft/"
cp "$fakes/libcublasLt.so.13" "$packages/cu13/lib/"
cp "$fakes/libcublasLt.so.12" "$packages/cublas/lib/"
failures=0

# What `sft env` says about the library of a CUDA, with the driver of another.
says() {  # driver, library, words that must stand behind it
  local found
  found=$(FAKE_CUDA=$1 LD_LIBRARY_PATH=$folder/driver "$folder/bin/sft" env | grep -F "$2" || true)
  case $found in
    *"$3"*) ;;
    *) echo "driver for CUDA $1: $2 should be said to \"$3\", and is: $found"; failures=$((failures + 1)) ;;
  esac
}
says 13000 libsft_cuda13.so "so runs"
says 13000 libsft_cuda12.so "one before it runs"
says 12040 libsft_cuda12.so "so runs"
says 12040 libsft_cuda13.so "the driver runs CUDA 12.4, and it needs 13.0 (driver 580 or newer)"
says 11080 libsft_cuda12.so "the driver runs CUDA 11.8, and it needs 12.0 (driver 525 or newer)"
# A machine without a driver, or whose driver finds no card.
rm -f "$folder/driver/libcuda.so.1"
/sbin/ldconfig -p | grep -q 'libcuda.so.1 ' || says 0 libsft_cuda12.so "does not run: no NVIDIA driver"
cp "$fakes/libcuda.so.1" "$folder/driver/"
FAKE_CARDS=0 says 12040 libsft_cuda12.so "does not run: no NVIDIA GPU that can be used"
# Where nothing has NVIDIA's library; this machine's loader may have one of CUDA 12.
if ! /sbin/ldconfig -p | grep -q 'libcublasLt.so.12 '; then
  mv "$packages/cublas" "$folder/gone"
  says 12040 libsft_cuda12.so "pip install 'sft-cpp[cuda12]'"
  mv "$folder/gone" "$packages/cublas"
fi
# A program that is called by a link from elsewhere, as pipx and uv lay it, and an environment that has moved.
mv "$folder/lib" "$folder/kept" && mkdir "$folder/new" && mv "$folder/kept" "$folder/new/lib" && mv "$folder/bin" "$folder/new/bin"
mkdir "$folder/bin" && ln -s "$folder/new/bin/sft" "$folder/bin/sft"
says 12040 libsft_cuda12.so "$folder/new/lib/sft/libsft_cuda12.so runs"
[ $failures -eq 0 ] && echo "9 passed, 0 failed"
exit $failures
