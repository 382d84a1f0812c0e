#!/bin/sh
# Leaves a nameless child in its group and one in a session of its own, and ends. Both write their pids to FILE.
# usage: forks.sh FILE
env -i sh -c 'echo $$ >>"$1"; exec sleep 1000' child "$1" &
setsid sh -c 'echo $$ >>"$1"; exec sleep 1000' child "$1" &
echo forked
sleep 0.3
exit 0
