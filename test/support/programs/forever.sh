#!/bin/sh
# Says that it is ready and runs until it is stopped. On SIGHUP it reads its configuration again: refuses it when it says "bad", is silent when it says "mute", ends when it says "fatal".
# usage: forever.sh CONFIGURATION
configuration=$1
reload() {
  if grep -q fatal "$configuration"; then
    echo "fatal: cannot go on"
    exit 3
  elif grep -q bad "$configuration"; then
    echo "error: bad line, keeping the old configuration"
  elif ! grep -q mute "$configuration"; then
    echo reconfigured
  fi
}
trap reload HUP
trap 'exit 0' TERM
echo ready
while :; do
  sleep 0.05
done
