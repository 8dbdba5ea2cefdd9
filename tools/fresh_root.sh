#!/usr/bin/env bash
# The first hour of a stranger: a fresh Debian in a folder (by debootstrap), a fresh clone of this repository's HEAD in it,
# README.md's code blocks in order with the seconds that each took, then `make test`. As root, with Debian's mirror and PyPI.
# usage: tools/fresh_root.sh [folder]       MIRROR=… another mirror than this machine's; SUITE=… another release than Debian 12's bookworm;
#                                           TEST=0 leaves `make test` out
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
root=${1:-$here/out/fresh-root}
mirror=${MIRROR:-$("$here/tools/debian_mirror.sh")}
[ "$(id -u)" -eq 0 ] || { echo "debootstrap and chroot need root" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
seconds() { local begin=$SECONDS; "$@"; printf '%7d s  %s\n' $((SECONDS - begin)) "$1"; }

make_root() {
  debootstrap --variant=minbase --include=ca-certificates,git,make "${SUITE:-bookworm}" "$root" "$mirror" >"$root.log" 2>&1
  # What this machine knows about reaching PyPI.
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  for file in /etc/pip.conf /etc/resolv.conf /etc/hosts; do [ ! -e "$file" ] || cp -L "$file" "$root$file"; done
  env | grep -E '^(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL)|https?_proxy|no_proxy)=' >"$root/etc/environment" || true
  git clone -q --no-hardlinks "$here" "$root/root/sft.cpp"
  git -C "$root/root/sft.cpp" checkout -q --detach "$(git -C "$here" rev-parse HEAD)"
}
inside() {  # a command line in the clone, in the root, with /proc and /dev of its own
  unshare --mount sh -c "mount -t proc proc '$root/proc' && mount --rbind /dev '$root/dev' && exec chroot '$root' env -i HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $(tr '\n' ' ' <"$root/etc/environment") sh -c 'cd /root/sft.cpp && $1'"
}

[ ! -e "$root" ] || { echo "$root is there already: a fresh root needs a new folder" >&2; exit 1; }
mkdir -p "$root"
root=$(realpath "$root")
seconds make_root
inside tools/readme_blocks.sh
[ "${TEST:-1}" = 0 ] || seconds inside "make test"
