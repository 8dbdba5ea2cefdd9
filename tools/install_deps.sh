#!/usr/bin/env bash
# Installs the packages that building, testing or formatting needs, where they are missing (Debian 12 and 13, Ubuntu 22.04 and 24.04).
# usage: tools/install_deps.sh [--list] [build] [test] [format] [fuzz] [torture]      (nothing named: build and test)
#   --list: prints their names alone
set -euo pipefail
cd "$(dirname "$0")/.."

# OpenCL: the CMake file of libdnnl-dev asks for its headers, though nothing here uses it.
build=(build-essential cmake ninja-build ccache pkg-config libdnnl-dev ocl-icd-opencl-dev nlohmann-json3-dev libsimdjson-dev
       libyaml-cpp-dev libutf8proc-dev libpcre2-dev libfmt-dev zlib1g-dev libcurl4-openssl-dev libssl-dev libzstd-dev libbz2-dev liblzma-dev libgloo-dev)
test=(libgtest-dev libgmock-dev openmpi-bin tmux zsh fish)
# Ubuntu has Chromium as a snap alone, which a container cannot run: the test in a browser is left out there.
grep -qs '^ID=ubuntu' /etc/os-release || test+=(chromium)
format=(clang-format-19 clang-tidy-19)
torture=(strace faketime)
fuzz=(clang-19 libclang-rt-19-dev libomp-19-dev llvm-19)

only_names=
if [ "${1:-}" = --list ]; then only_names=1; shift; fi
wanted=()
for group in "${@:-build test}"; do
  for name in $group; do
    declare -n packages=$name
    wanted+=("${packages[@]}")
  done
done

[ -z "$only_names" ] || { echo "${wanted[*]}"; exit 0; }

install() {
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null || { echo "there is no apt-get here: install what docs/install.md names for your system, and call cmake as it says" >&2; exit 1; }
  echo "installing: $*"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "these packages are missing and neither root nor sudo is at hand: $*" >&2; exit 1; }
    as_root=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
install "${missing[@]}"

# Ubuntu 22.04's own GCC and CMake are too old: newer ones lie in a folder that the Makefile looks into first.
tools=.venv/tools
newer() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; }  # whether version $2 is $1 or newer
if [ ! -e $tools/c++ ] && command -v g++ >/dev/null && ! newer 12 "$(g++ -dumpversion)"; then
  install g++-12
  mkdir -p $tools
  ln -sf "$(command -v gcc-12)" $tools/cc
  ln -sf "$(command -v g++-12)" $tools/c++
fi
least=$(sed -n 's/^cmake_minimum_required(VERSION \(.*\))/\1/p' CMakeLists.txt)
if command -v cmake >/dev/null && ! newer "$least" "$(cmake --version | sed -n '1s/.* //p')"; then
  echo "installing: CMake from PyPI, since $least is needed"
  tools/python_env.sh cmake
  mkdir -p $tools
  ln -sf ../bin/cmake ../bin/ctest ../bin/cpack $tools/
fi
