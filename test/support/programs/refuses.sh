#!/bin/sh
# A check: objects to a configuration that says "bad" or that is not where it was rendered for.
# usage: refuses.sh CONFIGURATION
echo "checking $1"
if grep -q bad "$1"; then
  echo "[emerg] unknown directive \"bad\" in line 1" >&2
  exit 1
fi
case $1 in */current/*) echo "error: this is the configuration in use" >&2; exit 1 ;; esac
