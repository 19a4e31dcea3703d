#!/bin/sh
# Puts a small Debian, as chroot.tar, into the cache, for the tests of the
# package. What is there stays.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/genkan
[ -e "$cache/chroot.tar" ] && exit 0
if [ "$(id -u)" != 0 ]; then
	echo 'chroot: not root: the tests of the package will be skipped' >&2
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
echo 'chroot: fetching a small Debian' >&2
debootstrap --variant=minbase bookworm "$work/root" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
rm -rf "$work/root/var/cache/apt/archives" "$work/root/var/lib/apt/lists"
mkdir -p "$cache"
tar -C "$work/root" -cf "$work/chroot.tar" --one-file-system .
mv "$work/chroot.tar" "$cache/chroot.tar.part"
mv "$cache/chroot.tar.part" "$cache/chroot.tar"
