#!/usr/bin/env bash
# Drives `sft chat` in a terminal (tmux) and from a pipe, as a person would. usage: chat_terminal.sh SFT MODEL
set -euo pipefail
sft=$(realpath "$1") model=$(realpath "$2")
work=$(mktemp -d)
command -v tmux >/dev/null || { echo "tmux is not installed: tools/install_deps.sh test"; exit 77; }
pane() { tmux -S "$work/socket" "$@"; }
trap 'pane kill-server 2>/dev/null || true; rm -rf "$work"' EXIT
failed() { echo "FAILED: $*"; pane capture-pane -p -S - || true; exit 1; }
# Waits until the screen has this many lines that match.
wait_for() {  # regular expression, count
  for _ in $(seq 300); do
    [ "$(pane capture-pane -p -S - | grep -cE -- "$1")" -ge "${2:-1}" ] && return
    sleep 0.2
  done
  failed "no \"$1\" (${2:-1} times)"
}
say() { pane send-keys -l -- "$1"; pane send-keys Enter; }

pane -f /dev/null new-session -d -x 100 -y 50 \
  "$sft chat $model --use_cpu --max_new_tokens 24 --context 0 -v; echo ended with \$?; sleep 60"
wait_for '/help lists the commands'
wait_for '^>>> *$'
say 'How do you do?'
wait_for 'known from before.*written' 1
say 'And what then?'
wait_for 'known from before.*written' 2
pane capture-pane -p -S - | grep -qE ' [1-9][0-9]* known from before' || failed 'the second question read all again'
say '/retry'
wait_for 'known from before.*written' 3

say '/set temperature 0.5'
wait_for 'temperature 0.5, '
say '/set temperature hot'
wait_for 'error\['
say '/dance'
wait_for 'error\[C232\]'
say '/undo'
say '/undo'
say '/undo'
wait_for 'nothing was asked yet'
say '"""first line'
wait_for '^\.\.\. *$'
say 'second line"""'
wait_for 'known from before.*written' 4
say "/save $work/talk.jsonl"
wait_for 'saved .*/talk.jsonl' 1
pane send-keys C-c
wait_for '/exit or Ctrl-D leaves'
say '/set max_new_tokens 100000'
say 'A long answer, please.'
sleep 0.2
pane send-keys C-c  # while it answers, or just after: the program goes on either way
wait_for 'known from before.*written' 5
say '/exit'
wait_for 'ended with 0'
grep -q '"content":"first line\\nsecond line"' "$work/talk.jsonl" || failed "saved: $(cat "$work/talk.jsonl")"

# From a pipe: one question a line, one object an answer, and a conversation.
printf 'How do you do?\n\nAnd then?\n' | "$sft" chat "$model" --use_cpu --max_new_tokens 8 --context 0 --json -q >"$work/out"
[ "$(wc -l <"$work/out")" -eq 2 ] || { echo "FAILED: two answers wanted"; cat "$work/out"; exit 1; }
first=$(sed -n 's/.*"prompt_tokens":\([0-9]*\).*/\1/p' "$work/out" | head -n 1)
second=$(sed -n 's/.*"prompt_tokens":\([0-9]*\).*/\1/p' "$work/out" | tail -n 1)
[ "$second" -gt "$first" ] || { echo "FAILED: the second question forgot the first ($first, $second)"; exit 1; }
printf 'Hello\n' | "$sft" chat "$model" --against "$model" --use_cpu --max_new_tokens 4 --context 0 -q >"$work/both"
[ "$(grep -c '^\[' "$work/both")" -eq 2 ] || { echo "FAILED: two models answer"; cat "$work/both"; exit 1; }
echo "a conversation in a terminal and two from a pipe: as they should be"
