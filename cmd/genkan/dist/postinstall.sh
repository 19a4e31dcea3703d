#!/bin/sh
# The daemon is started by the operator, once there is a configuration: a front
# door that opens by itself is none. An upgrade hands over to the new program.
set -e
systemd-sysusers /usr/lib/sysusers.d/genkan.conf 2>/dev/null || getent group genkan >/dev/null ||
	groupadd --system genkan
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if systemctl is-active --quiet genkan; then
	genkan upgrade || systemctl restart genkan # without a lost connection, if that can be
fi
