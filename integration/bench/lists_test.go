package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"genkan/integration/internal/require"
)

// listSize is the number of prefixes in the list, half of them of each family.
const listSize = 1_000_000

// somePrefixes calls f with listSize prefixes of the lengths that blocklists
// have. They may overlap.
func somePrefixes(f func(netip.Prefix)) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range listSize {
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], 1<<24+r.Uint32N(222<<24))
		p := netip.PrefixFrom(netip.AddrFrom4(v4), 20+r.IntN(13))
		if i%2 == 1 {
			var v6 [16]byte
			binary.BigEndian.PutUint64(v6[:], 0x2000<<48|r.Uint64()>>3)
			binary.BigEndian.PutUint64(v6[8:], r.Uint64())
			p = netip.PrefixFrom(netip.AddrFrom16(v6), 32+r.IntN(97))
		}
		f(p.Masked())
	}
}

// mustList writes the list with a text behind each prefix.
func mustList(b *testing.B, path, behind string) {
	b.Helper()
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(file)
	somePrefixes(func(p netip.Prefix) { fmt.Fprintf(w, "%s%s\n", p, behind) })
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkListLoad is a list of a million prefixes, loaded by each program's
// check of a configuration that denies it: the whole process, from its start to
// its end, with the most memory that it had. "none" is the same with an empty
// list.
func BenchmarkListLoad(b *testing.B) {
	dir := b.TempDir()
	genkan := filepath.Join(dir, "genkan")
	if out, err := exec.Command("go", "build", "-o", genkan, "genkan/cmd/genkan").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	mustList(b, filepath.Join(dir, "list"), "")
	mustList(b, filepath.Join(dir, "list.geo"), " 1;")
	for _, one := range []struct{ name, program, pkg, config, list string }{
		{"genkan", genkan, "genkan", "[lists]\nbad = { file = %q }\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.9:9\"\naccess = [\"deny bad\", \"allow all\"]\n", "list"},
		{"nginx-geo", "nginx", "nginx", "pid " + dir + "/pid;\nerror_log stderr;\nevents {}\nhttp { access_log off; geo $bad { default 0; include %q; } server { listen 127.0.0.1:1; if ($bad) { return 403; } } }\n", "list.geo"},
		{"haproxy-f", "haproxy", "haproxy", "defaults\n mode tcp\n timeout client 1s\n timeout connect 1s\n timeout server 1s\nfrontend f\n bind 127.0.0.1:1\n acl bad src -f %s\n tcp-request connection reject if bad\n default_backend b\nbackend b\n server s 127.0.0.9:9\n", "list"},
	} {
		for _, size := range []string{"1M", "none"} {
			b.Run(one.name+"/"+size, func(b *testing.B) {
				program := require.Program(b, one.program, one.pkg)
				list := filepath.Join(dir, one.list)
				if size == "none" {
					list = filepath.Join(dir, "none")
					if err := os.WriteFile(list, nil, 0o644); err != nil {
						b.Fatal(err)
					}
				}
				config := filepath.Join(dir, one.name+".conf")
				if err := os.WriteFile(config, fmt.Appendf(nil, one.config, list), 0o644); err != nil {
					b.Fatal(err)
				}
				checkLoad(b, program, map[string][]string{
					"genkan":    {"check", "-c", config},
					"nginx-geo": {"-t", "-q", "-c", config},
					"haproxy-f": {"-c", "-q", "-f", config},
				}[one.name])
			})
		}
	}
}

// checkLoad runs a program and reports what it took.
func checkLoad(b *testing.B, program string, args []string) {
	var peak int64
	var cpu time.Duration
	for b.Loop() {
		cmd := exec.Command(program, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%.2000s", program, err, out)
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		peak = max(peak, usage.Maxrss)
		cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	b.ReportMetric(float64(peak)/1024, "peak-MB")
	b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
	b.ReportMetric(0, "ns/op")
}
