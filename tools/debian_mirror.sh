#!/usr/bin/env bash
# Prints the mirror that this machine's packages come from, in either form of apt's lists of sources.
set -euo pipefail
for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  [ -f "$list" ] || continue
  mirror=$(awk '/^URIs:/ {print $2; exit} /^deb / {for (i = 2; i <= NF; ++i) if ($i ~ /:\/\//) {print $i; exit}}' "$list")
  [ -z "$mirror" ] || { echo "$mirror"; exit 0; }
done
echo "no list of sources under /etc/apt names a mirror: give one in MIRROR" >&2
exit 1
