#!/bin/sh
# A service that costs nothing while it waits, and writes what it does to DATA/events, one line an event. What its configuration says, it does:
# `crash` at once, `late` a moment later; `slow`: ready after a while; `deaf`: hears no signal that can be ignored.
# usage: service.sh CONFIGURATION DATA
configuration=$1 data=$2
mkdir -p "$data"
# When a process began that still runs: its number may be another one's by now, and nobody may have collected a dead one.
born() {
  read -r stat 2>/dev/null <"/proc/$1/stat" || return
  set -- ${stat##*) }
  case $1 in [ZX]) return ;; esac
  shift 19
  echo "$1"
}
read -r before born 2>/dev/null <"$data/pid"
if [ -n "$before" ] && [ "$before" != $$ ] && [ "$(born "$before")" = "$born" ]; then echo "two: $before and $$" >>"$data/events"; fi
echo "$$ $(born $$)" >"$data/pid"
take() {
  read -r text <"$configuration"
  echo "$1 $$ $text" >>"$data/events"
  case $text in
    *crash*) exit 3 ;;
    *late*) { sleep 0.4; kill -9 $$; } & ;;
    *deaf*) trap '' HUP TERM ;;
  esac
}
trap 'take reloaded; echo reconfigured' HUP
trap 'echo "stopped $$" >>"$data/events"; kill $waiting; exit 0' TERM
take started
case $text in *slow*) sleep 0.8 ;; esac
echo ready
while :; do
  sleep 86400 &
  waiting=$!
  wait $waiting
  kill $waiting 2>/dev/null
done
