#!/usr/bin/env bash
# Runs the code blocks of README.md, in order and as they stand, against a hub on loopback that serves tiny models and
# small data sets under the names that they use; prints the seconds that each command took.
# usage: tools/readme_blocks.sh              in this checkout, `make` included, with whatever network there is
#        tools/readme_blocks.sh --built DIR  with what DIR has been built to, in a folder of its own, without network:
#                                            `make` is what has been done already, /tmp/ is that folder's
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
built=
if [ "${1:-}" = --built ]; then built=$(realpath "$2"); fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT  # the hub ends with this script, whose end of its pipe goes

# The blocks marked `sh`, one command a line of `commands`: continued lines are joined, comments are dropped.
commands() {
  awk '/^```sh$/ {inside = 1; next} /^```/ {inside = 0} inside' "$here/README.md" |
    sed -e ':join' -e '/\\$/ {N; s/ *\\\n */ /; b join' -e '}' -e 's/ \{2,\}#.*//' -e '/^ *\(#.*\)\?$/d'
}
count=$(commands | wc -l)
[ "$count" -ge 5 ] || { echo "README.md has only $count commands"; exit 1; }

start_hub() {  # the program's address and token come on its first line
  coproc hub { "$1" models/Qwen/Qwen2.5-0.5B="$here/tests/golden/models/chatml" \
      datasets/BAAI/Infinity-Instruct="$here/tests/readme/Infinity-Instruct" \
      models/HuggingFaceTB/SmolLM2-135M="$here/tests/golden/models/smol" \
      datasets/trl-lib/Capybara="$here/tests/golden/data/msgs"; }
  exec {to_hub}>&"${hub[1]}"
  local token
  read -r HF_ENDPOINT token <&"${hub[0]}"
  export HF_ENDPOINT HF_HOME=$work/huggingface HF_HUB_OFFLINE=0 no_proxy='*'
}

run() {  # one command, its output shown when it fails
  local begin end
  begin=$(date +%s.%N)
  if ! (eval "$1") >"$work/log" 2>&1 </dev/null; then
    echo "FAILED: $1"
    cat "$work/log"
    exit 1
  fi
  end=$(date +%s.%N)
  printf '%7.1f s  %s\n' "$(echo "$end $begin" | awk '{print $1 - $2}')" "$1"
}

if [ -n "$built" ]; then
  mkdir -p "$work/tree/tmp"
  cd "$work/tree"
  ln -s "$here/examples" "$here/bench" "$here/tools" "$here/README.md" .
  ln -s "$built" build
  make() {
    case $1 in
      quickstart) tools/quickstart.sh --offline build ;;
      test | build) ;;
      *) echo "make $1 is no command of the README's"; return 1 ;;
    esac
  }
  start_hub "$built/hub_server"
else
  cd "$here"
fi
while IFS= read -r command; do
  if [ -z "$built" ] && [ -z "${HF_ENDPOINT:-}" ] && [ -x build/sft ]; then
    cmake --build build --target hub_server >/dev/null
    start_hub build/hub_server
  fi
  [ -z "$built" ] || command=${command//\/tmp\//$work/tree/tmp/}
  run "$command"
done < <(commands)
echo "$count commands of README.md ran"
