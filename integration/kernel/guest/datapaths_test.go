package guest

import (
	"fmt"
	"testing"

	"genkan/tunnel"

	"golang.org/x/sys/unix"
)

// datapaths are those that have to work in this kernel: ebpf from 6.6 on.
func datapaths(t *testing.T) []string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	all := []string{tunnel.DatapathKernel, tunnel.DatapathUserspace}
	if major > 6 || major == 6 && minor >= 6 {
		all = append(all, tunnel.DatapathEBPF)
	}
	return all
}
