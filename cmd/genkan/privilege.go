package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// mayTunnel fails with the names of the capabilities that are missing, before anything is touched.
func mayTunnel() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capabilities cannot be read: %w", err)
	}
	var missing []string
	has := func(bit int) bool { return data[bit/32].Effective&(1<<(bit%32)) != 0 }
	if !has(unix.CAP_NET_ADMIN) {
		missing = append(missing, "CAP_NET_ADMIN")
	}
	if !has(unix.CAP_NET_RAW) {
		missing = append(missing, "CAP_NET_RAW")
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("a tunnel needs %s; run as root, or give AmbientCapabilities=%s in the systemd unit",
		strings.Join(missing, " and "), strings.Join(missing, " "))
}
