#!/usr/bin/env bash
# What a package holds, from the ordinary build: the installed folder works wherever it lies, reads parquet and runs
# two ranks with the libraries beside it, and becomes the same wheel twice, whose parts are what its list says. Needs python3 and readelf; 77 without.
# usage: layout.sh <sft> <build folder> <source folder>
set -euo pipefail
sft=$1 build=$2 source=$3
command -v python3 >/dev/null && command -v readelf >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "$1"; exit 1; }

cmake --install "$build" --prefix "$folder/stage" >/dev/null
for file in bin/sft share/man/man1/sft.1 share/bash-completion/completions/sft share/zsh/site-functions/_sft \
            share/fish/vendor_completions.d/sft.fish share/doc/sft-cpp/LICENSE; do
  [ -s "$folder/stage/$file" ] || fail "the package has no $file"
done
mv "$folder/stage" "$folder/moved"
[ "$("$folder/moved/bin/sft" --version)" = "$("$sft" --version)" ] || fail "the installed program is another than the built one"
if [ -e "$folder/moved/lib/sft/libsft_arrow.so" ]; then
  "$folder/moved/bin/sft" inspect --model_name_or_path "$source/examples/tiny-model" \
    --dataset_name "$source/tests/data/golden/mix/chat.parquet" >"$folder/out" 2>&1 || fail "parquet cannot be read: $(cat "$folder/out")"
  grep -q "Question 0" "$folder/out" || fail "the parquet's first row does not show: $(cat "$folder/out")"
fi
if [ -e "$folder/moved/lib/sft/libsft_gloo.so" ]; then
  ranks="launch --nproc_per_node 2 bench --model $source/examples/tiny-model --seq 16 --batch 2 --steps 2 --use_cpu --threads 1"
  # shellcheck disable=SC2086
  "$folder/moved/bin/sft" $ranks >"$folder/out" 2>&1 || fail "two ranks do not work: $(cat "$folder/out")"
  mv "$folder/moved/lib/sft/libsft_gloo.so" "$folder/gloo"
  found=0
  # shellcheck disable=SC2086
  "$folder/moved/bin/sft" $ranks >"$folder/out" 2>&1 || found=$?
  [ $found = 2 ] && grep -q "error\[C140\].*libsft_gloo.so" "$folder/out" || fail "without Gloo, $found: $(cat "$folder/out")"
  mv "$folder/gloo" "$folder/moved/lib/sft/libsft_gloo.so"
fi

export SOURCE_DATE_EPOCH=1700000000
for turn in 1 2; do
  "$source/packaging/wheel.py" "$folder/moved" 1.2.3 "$folder/dist$turn" >/dev/null
  touch "$folder/moved/bin/sft"  # another time of the file is not another wheel
done
cmp "$folder"/dist1/*.whl "$folder"/dist2/*.whl || fail "the same files made two wheels"
python3 - "$folder"/dist1/*.whl <<'END' || fail "the wheel's parts are not what its list says"
import base64, hashlib, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
record = next(n for n in wheel.namelist() if n.endswith("/RECORD"))
listed = dict(line.rsplit(",", 2)[:2] for line in wheel.read(record).decode().splitlines())
assert set(listed) == set(wheel.namelist()), set(listed) ^ set(wheel.namelist())
for name, digest in listed.items():
    if digest:
        found = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(name)).digest()).rstrip(b"=").decode()
        assert digest == "sha256=" + found, name
program = wheel.getinfo("sft_cpp-1.2.3.data/scripts/sft")
assert program.external_attr >> 16 & 0o111 == 0o111, "sft is not executable"
assert any(n.endswith(".data/data/share/man/man1/sft.1") for n in wheel.namelist())
END
# A build of this machine asks for more than a package may: the check of releases says so.
"$source/packaging/check_files.py" "$folder/moved" >"$folder/out" && fail "a program with libraries of this system passed for a package"
grep -q "which is not beside it" "$folder/out" || fail "no library was named: $(cat "$folder/out")"
echo "7 passed, 0 failed"
