#!/usr/bin/env bash
# Installs the packages that building, testing or formatting needs, where they are missing (Debian 12 and 13, Ubuntu 24.04).
# usage: tools/install_deps.sh [--list] [build] [test] [format] [fuzz] [torture]      (nothing named: build and test)
#   --list: prints their names alone
set -euo pipefail

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

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "these packages are missing and neither root nor sudo is at hand: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
