package bpf

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requireBPF skips where no program can be loaded, unless GENKAN_REQUIRE=all.
func requireBPF(t testing.TB) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	if major < 6 || major == 6 && minor < 6 { // the VM of integration/kernel runs it in a younger one
		t.Skip("the kernel is older than 6.6")
	}
	err := features.HaveProgramType(ebpf.SchedCLS)
	if err == nil {
		_, err = os.Stat("/dev/net/tun")
	}
	if err == nil {
		return
	}
	skip(t, errors.Join(errors.New("eBPF and /dev/net/tun"), err))
}

func skip(t testing.TB, missing error) {
	t.Helper()
	if os.Getenv("GENKAN_REQUIRE") == "all" {
		t.Fatalf("missing: %v", missing)
	}
	t.Skipf("missing: %v", missing)
}
