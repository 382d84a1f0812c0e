#!/bin/sh
# A small service that does what its configuration says, and writes down what it does: one line an event to DATA/events.
# Words in the configuration: `crash` (ends right after its start or reload), `silent` (never says that it is ready), `mute` (reloads without a
# word), `gated` (ready, or reloaded, only when DATA/gate is there), `bad` (refused by --check).
# usage: service.sh CONFIGURATION DATA | service.sh --check CONFIGURATION
if [ "$1" = --check ]; then
  grep -q bad "$2" || exit 0
  echo "[emerg] unknown directive \"bad\" in line 1" >&2
  exit 1
fi
configuration=$1 data=$2
mkdir -p "$data"

# A second one beside a live one would be two of one component: the worst that can happen.
before=$(cat "$data/pid" 2>/dev/null)
if [ -n "$before" ] && [ "$before" != $$ ] && grep -qs "$data" "/proc/$before/cmdline"; then echo "two: $before and $$" >>"$data/events"; fi
echo $$ >"$data/pid"

take() {
  text=$(cat "$configuration")
  echo "$1 $$ $text" >>"$data/events"
  case $text in *crash*) echo "fatal: told to crash"; exit 3 ;; esac
  case $text in *gated*) while [ ! -e "$data/gate" ]; do sleep 0.05; done ;; esac
}
reload() {
  take reloaded
  case $text in *mute*) ;; *) echo reconfigured ;; esac
}
trap reload HUP
trap 'echo "stopped $$" >>"$data/events"; exit 0' TERM
take started
case $text in *silent*) ;; *) echo ready ;; esac
while :; do sleep 0.05; done
