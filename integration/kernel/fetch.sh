#!/bin/sh
# Usage: fetch.sh KERNEL...   for example: fetch.sh bookworm trixie uml
# Puts Debian's cloud kernel of each suite, as SUITE/vmlinuz and the network
# part of its modules below SUITE/modules, into the cache; "uml" is bookworm's
# user-mode Linux, a program, as uml/vmlinuz. What is there stays.
# Needs no root and leaves apt's own state alone.
set -eu

# Where this machine has its own packages from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | head -n 1)
[ -n "$mirror" ] || { echo "fetch: apt has no source of packages" >&2; exit 1; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/genkan/kernel
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fetch() {
	work=$1 name=$2 suite=$2 package=linux-image-cloud-amd64
	[ "$name" != uml ] || { suite=bookworm package=user-mode-linux; }
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/x" "$work/out"
	: >"$work/status"
	echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
	cat >"$work/apt.conf" <<-END
		Dir::State::lists "$work/lists";
		Dir::State::status "$work/status";
		Dir::Cache "$work";
		Dir::Etc::sourcelist "$work/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	END
	export APT_CONFIG="$work/apt.conf"
	apt-get -q update </dev/null >&2
	image=$package
	[ "$name" = uml ] || image=$(apt-cache depends $package |
		sed -n 's/^ *Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
	[ -n "$image" ] || { echo "fetch: $suite has no $package" >&2; exit 1; }
	(cd "$work" && apt-get -q download "$image" </dev/null >&2 && dpkg -x ./*.deb x)

	modules=$(find "$work/x" -type d -path '*/modules/*/kernel' | head -n 1)
	if [ "$name" = uml ]; then
		cp "$work/x/usr/bin/linux.uml" "$work/out/vmlinuz"
	else
		cp "$work"/x/boot/vmlinuz-* "$work/out/vmlinuz"
	fi
	mkdir "$work/out/modules"
	for part in net lib crypto arch; do
		[ ! -d "$modules/$part" ] || cp -r "$modules/$part" "$work/out/modules/"
	done
	cp "$modules"/drivers/net/*.ko* "$work/out/modules/"
	echo "$image" >"$work/out/version"
	mkdir -p "$cache"
	rm -rf "${cache:?}/$name"
	mv "$work/out" "$cache/$name" # last, so that a half one is never found
}

for kernel; do
	[ ! -e "$cache/$kernel/version" ] || continue
	echo "fetch: Debian's kernel \"$kernel\" into $cache" >&2
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(fetch "$work" "$kernel")
	rm -rf "$work"
done
