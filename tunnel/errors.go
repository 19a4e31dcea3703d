package tunnel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNo6RD is why the kernel datapath cannot be had on a kernel that has the
// sit device without CONFIG_IPV6_SIT_6RD: it takes the 6rd attributes, and
// ignores them.
var ErrNo6RD = errors.New("this kernel's sit device has no 6rd (CONFIG_IPV6_SIT_6RD is not set)")

const (
	capAdmin = "CAP_NET_ADMIN"
	capRaw   = "CAP_NET_RAW"
)

// explain says what was being done, and for a missing privilege which
// capability would allow it and where it is granted.
func explain(doing, capability string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("tunnel: %s: %w (needs %s); in a systemd unit: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
			doing, err, capability)
	}
	return fmt.Errorf("tunnel: %s: %w", doing, err)
}
