package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// A machine is a kernel of fetch.sh, what runs it, and its share of the guest's
// tests.
type machine struct {
	kernel, program, debianPackage string
	tests                          string
	command                        func(program, kernel, initrd, dir string) []string
	start                          func(*exec.Cmd) error
}

// onlyUML are the tests of what a kernel lacks.
const (
	onlyUML = "-test.run=^TestNo"
	notUML  = "-test.skip=^TestNo"
)

// The kernels: Debian 12's 6.1; Debian 13's 6.12, which has what the ebpf
// datapath needs; user-mode Linux, whose sit has no 6rd.
var machines = []machine{
	{"bookworm", "qemu-system-x86_64", "qemu-system-x86", notUML, emulated, (*exec.Cmd).Start},
	{"trixie", "qemu-system-x86_64", "qemu-system-x86", notUML, emulated, (*exec.Cmd).Start},
	{"uml", "", "", onlyUML, userMode, startWithoutXState},
}

// emulated does not use KVM where it exists: nested, it hangs as often as it
// helps. qemu64's cmpxchg16b destroys the flags in QEMU 7.2, hence -cx16; a busy
// machine loses timer ticks while Linux counts them, hence no_timer_check.
func emulated(program, kernel, initrd, _ string) []string {
	return []string{
		program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "pc", "-accel", "tcg", "-cpu", "qemu64,-cx16", "-m", "512",
		"-kernel", kernel, "-initrd", initrd, "-serial", "stdio",
		"-append", "console=ttyS0 quiet panic=-1 no_timer_check -- ",
	}
}

// userMode runs the kernel as the program that it is. It keeps no AVX registers
// (startWithoutXState), so that nothing in the guest may use them.
func userMode(_, kernel, initrd, dir string) []string {
	return []string{
		kernel, "mem=256M", "initrd=" + initrd, "uml_dir=" + dir, "umid=guest",
		"con=null", "con0=null,fd:1", "ssl=null", "quiet", "panic=-1",
		"GODEBUG=cpu.avx=off,cpu.avx2=off,cpu.avx512f=off,cpu.avx512bw=off,cpu.avx512vl=off",
		"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW", "--",
	}
}

// TestVM runs package guest in each kernel. GENKAN_GUEST_RUN chooses among the
// tests of the emulated machines as -run does.
func TestVM(t *testing.T) {
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
	for _, m := range machines {
		t.Run(m.kernel, func(t *testing.T) {
			t.Parallel() // each emulates one processor
			dir := mustKernel(t, m.kernel)
			image := filepath.Join(t.TempDir(), "initrd")
			if err := os.WriteFile(image, mustInitrd(t, dir, program), 0o644); err != nil {
				t.Fatal(err)
			}
			runner := ""
			if m.program != "" {
				runner = require.Program(t, m.program, m.debianPackage)
			}
			checkGuest(t, boot(t, m, m.command(runner, filepath.Join(dir, "vmlinuz"), image, t.TempDir())))
		})
	}
}

// mustKernel is the folder of a kernel in the cache. Only setup.sh fetches: a
// test does not use the network.
func mustKernel(t *testing.T, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "genkan", "kernel", name)
	require.File(t, filepath.Join(dir, "version"), "run integration/kernel/fetch.sh "+name)
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
	if err := i.program("bin/ip", require.Program(t, "ip", "iproute2")); err != nil {
		t.Fatal(err)
	}
	for n, content := range m.order {
		i.file(fmt.Sprintf("mod/%02d-%s.ko", n, m.names[n]), content)
	}
	return i.bytes()
}

// boot runs the machine to its end and returns what its console said. It has
// the time that this test program has, less a margin to tell about it.
func boot(t *testing.T, m machine, command []string) string {
	t.Helper()
	const margin = 30 * time.Second
	words := []string{"-test.v"}
	if only := os.Getenv("GENKAN_GUEST_RUN"); only != "" {
		words = append(words, "-test.run="+only)
	}
	words = append(words, m.tests) // the last one holds
	ctx := t.Context()
	if end, ok := t.Deadline(); ok {
		limited, cancel := context.WithDeadline(ctx, end.Add(-margin))
		defer cancel()
		ctx = limited
		words = append(words, fmt.Sprintf("-test.timeout=%ds", int(time.Until(end.Add(-2*margin)).Seconds())))
	}
	if last := len(command) - 1; command[last] == "--" {
		command = append(command, words...)
	} else { // one word to QEMU
		command[last] += strings.Join(words, " ")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	text := strings.ReplaceAll(out.String(), "\r", "")
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(command[0]), err)
	}
	return text
}
