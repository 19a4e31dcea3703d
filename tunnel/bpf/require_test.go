package bpf

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requireBPF skips where no program can be loaded, unless GENKAN_REQUIRE=all.
func requireBPF(t testing.TB) {
	t.Helper()
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
