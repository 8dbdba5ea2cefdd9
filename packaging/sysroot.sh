#!/usr/bin/env bash
# The C library of Debian 11 (glibc 2.31) and its headers in a folder, so that what the compiler of this system makes with
# --sysroot runs on every Linux since 2020. usage: packaging/sysroot.sh folder [amd64|arm64]      needs Debian's mirror, no root
set -euo pipefail
folder=$1
architecture=${2:-amd64}
suite=bullseye
[ ! -e "$folder/.complete" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/usr/lib" "$folder/.apt/lists/partial" "$folder/.apt/cache/archives/partial"
ln -s usr/lib "$folder/lib"
[ "$architecture" != amd64 ] || { mkdir "$folder/usr/lib64"; ln -s usr/lib64 "$folder/lib64"; }
here=$(realpath "$folder")
mirror=${MIRROR:-$("$(dirname "$0")/../tools/debian_mirror.sh")}
echo "deb [arch=$architecture signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$here/.apt/sources.list"
touch "$here/.apt/status"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$here/.apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Architecture="$architecture" \
    -o APT::Architectures="$architecture" -o Dir::State="$here/.apt" -o Dir::State::status="$here/.apt/status" \
    -o Dir::Cache="$here/.apt/cache" -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$here/.apt" && apt download libc6 libc6-dev linux-libc-dev libcrypt-dev libgcc-s1)
for package in "$here"/.apt/*.deb; do dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$here"; done
# Links to absolute names would lead back to this system's own libraries.
find "$here/usr/" -type l -lname '/*' | while read -r link; do ln -sfr "$here$(readlink "$link")" "$link"; done
# GCC looks for its own headers of C++ below the sysroot too; they are the compiler's, not the C library's.
triplet=x86_64-linux-gnu
version=$(gcc -dumpversion)
mkdir -p "$here/usr/include/c++"
if [ "$architecture" = arm64 ]; then
  triplet=aarch64-linux-gnu
  mkdir -p "$here/usr/$triplet/include/c++"
  ln -s "/usr/$triplet/include/c++/$version" "$here/usr/$triplet/include/c++/$version"
  version=$("$triplet-gcc" -dumpversion)
fi
if [ "$architecture" = amd64 ]; then
  ln -s "/usr/include/c++/$version" "$here/usr/include/c++/$version"
  mkdir -p "$here/usr/include/$triplet/c++"
  ln -s "/usr/include/$triplet/c++/$version" "$here/usr/include/$triplet/c++/$version"
fi
rm -rf "$here/.apt"
touch "$here/.complete"
