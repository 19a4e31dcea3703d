#!/bin/sh
# $1 is "remove" (deb) or 0 (rpm) where nothing newer follows.
set -e
case ${1:-} in
remove | 0) [ ! -d /run/systemd/system ] || systemctl disable --now genkan ;;
esac
