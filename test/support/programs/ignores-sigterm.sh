#!/bin/sh
# Takes no hint: only SIGKILL ends it and its child.
trap '' TERM
sleep 1000 &
echo ready
while :; do
  sleep 0.05
done
