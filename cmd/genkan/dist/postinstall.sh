#!/bin/sh
# The daemon is started by the operator, once there is a configuration: a front
# door that opens by itself is none. An upgrade hands over to the new program.
set -e
systemd-sysusers /usr/lib/sysusers.d/genkan.conf 2>/dev/null || getent group genkan >/dev/null ||
	groupadd --system genkan
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl is-active --quiet genkan || exit 0
if genkan upgrade; then # without a lost connection
	:
elif genkan check; then
	systemctl restart genkan
else # a restart would end what runs, and start nothing
	echo "genkan: the old program goes on; mend the configuration, then: genkan upgrade" >&2
fi
