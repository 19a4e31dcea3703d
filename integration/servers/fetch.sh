#!/bin/sh
# Unpacks Debian's Sendmail into the cache: as a package it would take the
# place of Postfix. What is there stays. Needs no root.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/genkan/sendmail
[ ! -e "$cache/root" ] || exit 0
echo "fetch: Debian's sendmail into $cache" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
(cd "$work" && apt-get -q download sendmail-bin sendmail-cf </dev/null >&2)
mkdir "$work/root"
for deb in "$work"/*.deb; do
	dpkg -x "$deb" "$work/root"
done
mkdir -p "$cache"
mv "$work/root" "$cache/root" # last, so that a half one is never found
