#!/usr/bin/env bash
# The CPU half for 64-bit Arm, compiled on this machine: Debian 12's arm64 libraries in a folder, GCC 12 for aarch64, and qemu to run
# the tests with. CUDA's sbsa target is not part of it: no toolkit for it can be had from Debian.
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

PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
  cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$source/packaging/aarch64.cmake" \
  -DCMAKE_SYSROOT="$root" -DSFT_CUDA=OFF -DSFT_ARROW=OFF ${CMAKE_FLAGS:-} >"$build.log"
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${@:-sft}"
