#!/bin/sh
# Installs the Debian packages that the tests need and starts none of their
# servers; puts Sendmail, a small Debian and the kernels of the virtual
# machines into the cache. Does nothing, and needs no network, where all are there.
set -eu
cd "$(dirname "$0")"

packages='gcc libc6-dev curl iproute2 nftables apache2 openssh-server
	openssh-client nginx libnginx-mod-stream dovecot-imapd dovecot-pop3d postfix vsftpd lftp wget tnftp
	inetutils-ftp python3 redis-server unbound bind9 bind9-dnsutils dnsmasq-base
	isc-dhcp-client ufw iptables m4 openssl haproxy caddy postgresql-15 mariadb-server slowhttptest
	qemu-system-x86 xz-utils debootstrap rpm prometheus chromium libapache2-mod-php8.2
	systemd util-linux postgresql-client-15 mariadb-client wordpress'
kernels='bookworm trixie uml'

if ! command -v dpkg-query >/dev/null; then
	echo 'setup: no Debian: tests that need a missing program will be skipped' >&2
	exit 0
fi

# install PACKAGE...
install() {
	if [ "$(id -u)" != 0 ]; then
		echo "setup: not root: cannot install $*; their tests will be skipped" >&2
		return
	fi
	# invoke-rc.d asks this program; 101 means: do not start it.
	policy=/usr/sbin/policy-rc.d
	if ! [ -e $policy ]; then
		trap 'rm -f $policy' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	echo "setup: installing $*" >&2
	apt_get update >&2
	apt_get install --assume-yes --no-install-recommends "$@" >&2
}
apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

missing=
for p in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $p"
done
# shellcheck disable=SC2086 # one word a package, a kernel
{
	[ -z "$missing" ] || install $missing
	servers/fetch.sh
	./chroot.sh
	[ "$(dpkg --print-architecture)" != amd64 ] || kernel/fetch.sh $kernels
}
