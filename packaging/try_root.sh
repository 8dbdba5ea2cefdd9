#!/usr/bin/env bash
# What is published, in a fresh system: a root by debootstrap (or one that is there), the wheel by pip, pipx and uv, the tarball and the
# Debian package; each trains. Prints the seconds of each. As root, with the suite's mirror and PyPI. MODEL=folder: also the seconds
# from nothing but the wheel to the first step of that model, by virtual environment, pip and sft.
# usage: packaging/try_root.sh dist folder suite mirror [options of debootstrap]      e.g.  out/release/dist /tmp/root bookworm http://…
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
dist=$(realpath "$1") root=$2 suite=$3 mirror=$4
shift 4
if [ ! -e "$root/usr/bin/env" ]; then
  debootstrap --variant=minbase --include=ca-certificates,python3-venv "$@" "$suite" "$root" "$mirror" >"$root.log" 2>&1
fi
root=$(realpath "$root")
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
for file in /etc/pip.conf /etc/resolv.conf /etc/hosts; do [ ! -e "$file" ] || cp -L "$file" "$root$file"; done
rm -rf "$root/root/try"
mkdir -p "$root/root/try"
cp -r "$dist" "$root/root/try/dist"
cp -r "$source/examples" "$root/root/try/"
cp "$source/tests/data/golden/mix/chat.parquet" "$root/root/try/"
variables=$(env | grep -E '^(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL)|https?_proxy|no_proxy)=' | tr '\n' ' ')
inside() {  # what is tried, a command line; prints the seconds by the clock and those of the processors
  local TIMEFORMAT='%R %U %S' seconds
  seconds=$({ time unshare --mount sh -c "mount -t proc proc '$root/proc' && mount --rbind /dev '$root/dev' && exec chroot '$root' env -i HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HF_HUB_OFFLINE=1 $variables sh -c 'cd /root/try && $2'" >"$root.out" 2>&1; } 2>&1) ||
    { echo "FAILED: $1"; cat "$root.out"; exit 1; }
  awk -v what="$1" '{printf "%7.1f s (%5.1f s of processors)  %s\n", $1, $2 + $3, what}' <<<"$seconds"
}
train='--model_name_or_path examples/tiny-model --max_steps 5 --use_cpu --save_strategy no --output_dir'
rows='--dataset_name examples/data/shapes/alpaca.json'
inside "$(chroot "$root" ldd --version | head -n 1)" true
if [ -n "${MODEL:-}" ]; then
  mkdir "$root/root/try/model"
  cp "$MODEL"/*.json "$MODEL"/*.safetensors "$root/root/try/model/"
  inside "from nothing to the first step of $(basename "$MODEL"), its model saved" "python3 -m venv m && m/bin/pip install -q --no-index --find-links dist sft-cpp && \
    m/bin/sft --model_name_or_path model --dataset_name examples/data/ostrafell/train.jsonl --max_steps 1 --use_cpu --output_dir first"
  rm -rf "$root/root/try/model" "$root/root/try/first"
fi
inside "a virtual environment" "python3 -m venv v"
inside "pip install, from the folder" "v/bin/pip install -q --no-index --find-links dist sft-cpp"
inside "five steps" "v/bin/sft $train out $rows"
inside "the environment moved: five steps" "mv v w && w/bin/sft $train out $rows"
inside "parquet, by the library beside it" "w/bin/sft inspect --model_name_or_path examples/tiny-model --dataset_name chat.parquet"
inside "sft --version, --help, doctor, man" "w/bin/sft --version && w/bin/sft --help && w/bin/sft doctor && w/bin/sft man"
inside "pipx: installed and run" "python3 -m venv t && t/bin/pip install -q pipx && t/bin/pipx install -q dist/sft_cpp-*.whl && /root/.local/bin/sft --version"
inside "uv tool: installed and run" "rm -f /root/.local/bin/sft && t/bin/pip install -q uv && t/bin/uv tool install -q dist/sft_cpp-*.whl && /root/.local/bin/sft --version"
inside "the tarball: five steps" "tar xzf dist/sft-*-linux-*.tar.gz && sft-*-linux-*/bin/sft $train out $rows"
inside "the Debian package: five steps" "dpkg -i dist/sft-cpp_*.deb && sft $train out $rows && dpkg -L sft-cpp | grep -q man1/sft.1 && dpkg -r sft-cpp"
