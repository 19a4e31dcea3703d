package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
)

// wanted are the modules that the tests and the tunnel need. The guest has no
// modprobe: nothing loads on demand.
var wanted = []string{
	"sit", "tun", "veth", "af_packet",
	"nf_tables", "nf_conntrack", "nft_ct", "nft_limit", "nft_reject_inet", "nft_log", "nft_fib_inet",
	"sch_ingress", "sch_fq_codel", "cls_bpf", "act_bpf",
}

// The kernels, by Debian's name of the release: 6.1, and 6.12, which has what
// the ebpf datapath needs.
var suites = []string{"bookworm", "trixie"}

// TestVM runs package guest in each kernel. GENKAN_GUEST_RUN chooses among its
// tests as -run does.
func TestVM(t *testing.T) {
	qemu := require.Program(t, "qemu-system-x86_64", "qemu-system-x86")
	require.Program(t, "xz", "xz-utils")
	init := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", init, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	program, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel() // each emulates one processor
			dir := mustKernel(t, suite)
			image := filepath.Join(t.TempDir(), "initrd")
			if err := os.WriteFile(image, mustInitrd(t, dir, program), 0o644); err != nil {
				t.Fatal(err)
			}
			checkGuest(t, boot(t, qemu, filepath.Join(dir, "vmlinuz"), image))
		})
	}
}

// mustKernel is the folder of the suite's kernel in the cache. Only setup.sh
// fetches: a test does not use the network.
func mustKernel(t *testing.T, suite string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "genkan", "kernel", suite)
	require.File(t, filepath.Join(dir, "version"), "run integration/kernel/fetch.sh "+suite)
	return dir
}

func mustInitrd(t *testing.T, dir string, program []byte) []byte {
	t.Helper()
	m, err := findModules(filepath.Join(dir, "modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range wanted {
		if err := m.add(name); err != nil {
			t.Fatal(err)
		}
	}
	var i initrd
	for _, name := range []string{"dev", "proc", "sys", "tmp", "run", "mod", "testdata"} {
		i.dir(name)
	}
	i.file("init", program)
	vectors, err := os.ReadFile("../../tunnel/ingress/testdata/tunnel-packets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	i.file("testdata/tunnel-packets.tsv", vectors)
	for n, content := range m.order {
		i.file(fmt.Sprintf("mod/%02d-%s.ko", n, m.names[n]), content)
	}
	return i.bytes()
}

// boot runs the machine to its end and returns what its serial line said.
// KVM is not used where it exists: nested, it hangs as often as it helps.
// qemu64's cmpxchg16b destroys the flags in QEMU 7.2, hence -cx16; a busy
// machine loses timer ticks while Linux counts them, hence no_timer_check.
func boot(t *testing.T, qemu, kernel, initrd string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	words := "console=ttyS0 quiet panic=-1 no_timer_check -- -test.v -test.timeout=540s"
	if only := os.Getenv("GENKAN_GUEST_RUN"); only != "" {
		words += " -test.run=" + only
	}
	cmd := exec.CommandContext(ctx, qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "pc", "-accel", "tcg", "-cpu", "qemu64,-cx16", "-m", "512",
		"-kernel", kernel, "-initrd", initrd, "-serial", "stdio", "-append", words)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.ReplaceAll(out.String(), "\r", "")
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, text)
	}
	return text
}

var (
	results = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+)`)
	ended   = regexp.MustCompile(`(?m)^GUEST-EXIT ([0-9]+)$`)
)

// checkGuest wants exit status 0, some test passed and none skipped.
func checkGuest(t *testing.T, serial string) {
	t.Helper()
	passed := 0
	for _, m := range results.FindAllStringSubmatch(serial, -1) {
		if m[1] == "PASS" {
			passed++
			t.Logf("%s", m[2])
			continue
		}
		t.Errorf("%s: %s", m[2], m[1])
	}
	end := ended.FindStringSubmatch(serial)
	if end == nil || end[1] != "0" || passed == 0 || t.Failed() {
		t.Fatalf("guest: exit %q, %d tests passed; its serial line:\n%s", end, passed, serial)
	}
}
