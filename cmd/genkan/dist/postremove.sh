#!/bin/sh
# "purge" takes the state too; the configuration is the operator's.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "${1:-}" = purge ]; then
	rm -rf /var/lib/genkan /run/genkan /var/log/genkan
	rmdir /etc/genkan 2>/dev/null || true
fi
