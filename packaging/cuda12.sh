#!/usr/bin/env bash
# CUDA 12.4's compiler, headers and the libraries to link with, from Debian 13's packages, laid out in a folder as NVIDIA lays them
# out: <folder>/bin/nvcc works with this system's GCC. usage: packaging/cuda12.sh folder      needs Debian's mirror, no root; 1.2 GB
set -euo pipefail
folder=$1
[ ! -e "$folder/.complete" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/.apt/lists/partial" "$folder/.apt/cache/archives/partial" "$folder"/{bin,nvvm/bin,lib64}
folder=$(realpath "$folder")
mirror=${MIRROR:-$("$(dirname "$0")/../tools/debian_mirror.sh")}
echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main non-free" >"$folder/.apt/sources.list"
touch "$folder/.apt/status"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$folder/.apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$folder/.apt" \
    -o Dir::State::status="$folder/.apt/status" -o Dir::Cache="$folder/.apt/cache" -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$folder/.apt" && apt download nvidia-cuda-toolkit nvidia-cuda-dev libcudart12 libcublaslt12 libcub-dev libcu++-dev libthrust-dev)
for package in "$folder"/.apt/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder/.apt" --wildcards './usr/bin/*' './usr/include/*' './usr/lib/nvidia-cuda-toolkit/*' \
    './usr/lib/x86_64-linux-gnu/libcud*' './usr/lib/x86_64-linux-gnu/libcublasLt.*' './usr/lib/x86_64-linux-gnu/stubs/*' 2>/dev/null || true
done
for tool in ptxas fatbinary cudafe++ nvlink bin2c cuobjdump; do mv "$folder/.apt/usr/bin/$tool" "$folder/bin/"; done
mv "$folder/.apt/usr/lib/nvidia-cuda-toolkit/bin/nvcc" "$folder/bin/"
[ ! -d "$folder/.apt/usr/lib/nvidia-cuda-toolkit/bin/crt" ] || cp -rL "$folder/.apt/usr/lib/nvidia-cuda-toolkit/bin/crt" "$folder/bin/crt"
mv "$folder/.apt/usr/lib/nvidia-cuda-toolkit/bin/cicc" "$folder/nvvm/bin/"
mv "$folder/.apt/usr/lib/nvidia-cuda-toolkit/libdevice" "$folder/nvvm/"
mv "$folder/.apt/usr/include" "$folder/include"
mv "$folder/.apt/usr/lib/x86_64-linux-gnu/"* "$folder/lib64/"
cat >"$folder/bin/nvcc.profile" <<'END'
TOP = $(_HERE_)/..
CICC_PATH = $(TOP)/nvvm/bin
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(CICC_PATH):$(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES =+ $(_SPACE_) "-L$(TOP)/lib64/stubs" "-L$(TOP)/lib64"
END
rm -rf "$folder/.apt"
touch "$folder/.complete"
