#!/usr/bin/env bash
# Everything that is published, in out/release/dist: the wheel, a tarball, a Debian package, the list of what is inside (SBOM) and
# sha256 sums. Times, orders and owners in them are the commit's, so that the same files give the same bytes. usage: packaging/release.sh [wheel] [--cuda 12|13]...
#   wheel      the wheel alone
#   --cuda N   with the CUDA half for CUDA N: 13 by /usr/local/cuda's nvcc, 12 by packaging/cuda12.sh; may be given twice
# SFT_SOURCE_ADDRESS=https://…/sft-cpp-0.1.0-source.tar.gz: where its sources will lie; writes the recipes for conda-forge and Homebrew too.
# Needs Debian's mirror and PyPI the first time (Debian 12, x86-64); what it builds once is kept in out/release. The build folders lie
# beside build/. No path of theirs is in the program; nvcc names kernels by the folder of their source, so that the CUDA halves have
# equal bytes from one folder alone.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${SFT_RELEASE:-$PWD/out/release}
jobs=${JOBS:-$(nproc)}
only_wheel=
halves=()
while [ $# -gt 0 ]; do
  case $1 in
    wheel) only_wheel=1 ;;
    --cuda) halves+=("$2"); shift ;;
    *) echo "packaging/release.sh: what is $1?" >&2; exit 2 ;;
  esac
  shift
done
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} TZ=UTC LC_ALL=C
export CCACHE_BASEDIR=  # a compiler cache that turns paths into relative ones gives other bytes than none
version=$(sed -n 's/^project(sft VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
mkdir -p "$out"
out=$(realpath "$out")

packaging/sysroot.sh "$out/sysroot"
packaging/third_party.sh "$out/deps" "$out/sysroot"
portable=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DSFT_TESTS=OFF -DSFT_PORTABLE=ON -DSFT_DEPS="$out/deps" -DSFT_SYSROOT="$out/sysroot")

libraries=
nvidia=()  # folders of NVIDIA's libraries
for half in "${halves[@]}"; do
  build=$PWD/build-release-cuda$half
  nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
  headers=$(dirname "$nvcc")/../include
  if [ "$half" = 12 ]; then
    packaging/cuda12.sh "$out/cuda12"
    nvcc=$out/cuda12/bin/nvcc
  fi
  nvidia+=("$(dirname "$nvcc")/../lib64")
  mkdir -p "$out/cudnn"
  cp "${SFT_CUDNN_HEADERS:-$headers}"/cudnn*.h "$out/cudnn/"
  cmake -S . -B "$build" "${portable[@]}" -DSFT_NVCC="$nvcc" -DSFT_CUDA_ARCHITECTURES="$(packaging/gpu_code.py --compile "$half")" \
    -DSFT_CUDNN_INCLUDE="$out/cudnn" >"$out/cuda$half.log"
  cmake --build "$build" -j "$jobs" --target sft_cuda
  libraries="$libraries${libraries:+;}$build/libsft_cuda$half.so"
done

build=$PWD/build-release
cmake -S . -B "$build" "${portable[@]}" -DSFT_CUDA=OFF -DSFT_CUDA_LIBRARIES="$libraries" >"$out/build.log"
cmake --build "$build" -j "$jobs" --target sft sft_pages
rm -rf "$out/stage"
cmake --install "$build" --prefix "$out/stage" --strip >/dev/null
strip "$out"/stage/lib/sft/*.so*  # --strip leaves what was built apart: the CUDA halves and Arrow
packaging/check_files.py "$out/stage"
packaging/check_runs.sh "$out/stage" "${nvidia[@]}"

rm -rf "$out/dist"
mkdir -p "$out/dist"
packaging/wheel.py "$out/stage" "$version" "$out/dist"
[ -z "$only_wheel" ] || exit 0

name=sft-$version-linux-$(uname -m)
tar -C "$out" --transform "s,^stage,$name," --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - stage |
  gzip -9n >"$out/dist/$name.tar.gz"
# Of the same files as the wheel and the tarball.
(cd "$build" && cpack -G DEB -D CPACK_INSTALL_CMAKE_PROJECTS= -D "CPACK_INSTALLED_DIRECTORIES=$out/stage;usr" -B "$out/dist" >/dev/null && rm -rf "$out/dist/_CPack_Packages")
git archive --format=tar --prefix="sft-cpp-$version/" HEAD | gzip -9n >"$out/dist/sft-cpp-$version-source.tar.gz"
if [ -n "${SFT_SOURCE_ADDRESS:-}" ]; then
  sum=$(sha256sum "$out/dist/sft-cpp-$version-source.tar.gz" | cut -d' ' -f1)
  for recipe in packaging/recipes/*; do
    sed "s|@VERSION@|$version|; s|@SOURCE@|$SFT_SOURCE_ADDRESS|; s|@SHA256@|$sum|" "$recipe" >"$out/dist/$(basename "$recipe")"
  done
fi
packaging/sbom.py "$out/stage" "$out/deps" "$version" >"$out/dist/sft-$version.spdx.json"
(cd "$out/dist" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
