#!/bin/sh
# Ends with an error after SECONDS.
# usage: crashes.sh SECONDS
echo ready
sleep "$1"
echo "out of luck"
exit 7
