#!/usr/bin/env bash
# For 64-bit Arm, compiled on this machine: Debian 12's arm64 libraries in a folder, GCC 12 for aarch64, and qemu to run the tests of
# the CPU half with. The CUDA half (target sft_cuda) is compiled by this machine's nvcc for its sbsa target, with the libraries of that
# side from PyPI's wheels.
# usage: packaging/aarch64.sh root build [targets]      needs Debian's mirror; as root, for the compiler and qemu-user; CMAKE_FLAGS as for make
#   then  packaging/aarch64.sh --run root program [arguments]
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
if [ "$1" = --run ]; then
  root=$2
  shift 2
  exec qemu-aarch64 -L "$root" "$@"
fi
root=$1 build=$2
shift 2

missing=()
for package in g++-12-aarch64-linux-gnu qemu-user; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }

# What tools/install_deps.sh installs here, of the other architecture and with all that it stands on; nothing of it is set up or run.
if [ ! -e "$root/.complete" ]; then
  rm -rf "$root"
  mkdir -p "$root/.apt/lists/partial" "$root/.apt/cache/archives/partial"
  root=$(realpath "$root")
  mirror=${MIRROR:-$("$source/tools/debian_mirror.sh")}
  echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$root/.apt/sources.list"
  touch "$root/.apt/status"
  apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$root/.apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Architecture=arm64 \
      -o APT::Architectures=arm64 -o Debug::NoLocking=true -o Dir::State="$root/.apt" -o Dir::State::status="$root/.apt/status" \
      -o Dir::Cache="$root/.apt/cache" -o APT::Sandbox::User=root "$@"
  }
  apt update
  libraries=$("$source/tools/install_deps.sh" --list build test | tr ' ' '\n' | grep -E -- '-dev$')
  # shellcheck disable=SC2086
  apt install --yes --download-only --no-install-recommends libc6-dev libstdc++-12-dev $libraries
  for package in "$root"/.apt/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$root"; done
  [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
  find "$root/usr/" -type l -lname '/*' | while read -r link; do ln -sfr "$root$(readlink "$link")" "$link"; done
  rm -rf "$root/.apt"
  touch "$root/.complete"
fi
root=$(realpath "$root")

# nvcc looks for headers and libraries beside itself, in targets/sbsa-linux: the headers are those of any target.
cuda=(-DSFT_CUDA=OFF)
if [[ " $* " == *" sft_cuda "* ]]; then
  toolkit=$(dirname "$(dirname "$(realpath "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")")
  there=$root/cuda
  if [ ! -e "$there/.complete" ]; then
    rm -rf "$there"
    mkdir -p "$there/bin" "$there/wheels" "$there/targets/sbsa-linux/lib"
    for tool in "$toolkit"/bin/*; do ln -s "$tool" "$there/bin/"; done
    rm "$there/bin/nvcc" "$there/bin/nvcc.profile"
    cp "$toolkit/bin/nvcc" "$toolkit/bin/nvcc.profile" "$there/bin/"
    ln -s "$toolkit/nvvm" "$there/nvvm"
    ln -s "$(realpath "$toolkit/include")" "$there/targets/sbsa-linux/include"
    ln -s sbsa-linux "$there/targets/aarch64-linux"  # as CMake calls it
    ln -s targets/sbsa-linux/include "$there/include"
    python3 -m pip download -q --no-deps --only-binary=:all: --platform manylinux2014_aarch64 -d "$there/wheels" 'nvidia-cuda-runtime>=13,<14' 'nvidia-cublas>=13,<14'
    for wheel in "$there"/wheels/*.whl; do
      python3 -c 'import sys, zipfile; [zipfile.ZipFile(sys.argv[1]).extract(name, sys.argv[2]) for name in zipfile.ZipFile(sys.argv[1]).namelist()
        if "/lib/libcudart" in name or "/lib/libcudadevrt" in name or "/lib/libcublasLt." in name]' "$wheel" "$there/wheels"
    done
    for library in "$there"/wheels/nvidia/*/lib/*; do
      ln -s "$library" "$there/targets/sbsa-linux/lib/"
      name=$(basename "$library")
      [ "${name%.so.*}" = "$name" ] || ln -s "$library" "$there/targets/sbsa-linux/lib/${name%.so.*}.so"
    done
    rm "$there"/wheels/*.whl
    touch "$there/.complete"
  fi
  cuda=(-DSFT_CUDA=ON -DSFT_NVCC="$there/bin/nvcc" -DCUDAToolkit_ROOT="$there" -DSFT_CUDNN_INCLUDE="$toolkit/include"
        -DCMAKE_CUDA_HOST_COMPILER="$(command -v aarch64-linux-gnu-g++-12)" -DCMAKE_CUDA_FLAGS="-Xcompiler=--sysroot=$root")
fi

# shellcheck disable=SC2086
PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
  cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$source/packaging/aarch64.cmake" \
  -DCMAKE_SYSROOT="$root" "${cuda[@]}" -DSFT_ARROW=OFF ${CMAKE_FLAGS:-} >"$build.log"
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${@:-sft}"
