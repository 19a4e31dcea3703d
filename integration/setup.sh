#!/bin/sh
# Installs the Debian packages that the tests need and starts none of their
# servers. Does nothing, and needs no network, where all are there.
set -eu

packages='gcc libc6-dev curl iproute2 nftables apache2 openssh-server
	qemu-system-x86 xz-utils'

if ! command -v dpkg-query >/dev/null; then
	echo 'setup: no Debian: tests that need a missing program will be skipped' >&2
	exit 0
fi
missing=
for p in $packages; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "setup: not root: cannot install$missing; their tests will be skipped" >&2
	exit 0
fi

# invoke-rc.d asks this program; 101 means: do not start it.
policy=/usr/sbin/policy-rc.d
if ! [ -e $policy ]; then
	trap 'rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt_get() { apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
echo "setup: installing$missing" >&2
apt_get update >&2
# shellcheck disable=SC2086 # one word a package
apt_get install --assume-yes --no-install-recommends $missing >&2
