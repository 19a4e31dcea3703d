package list

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/acl"
)

func TestRead(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"", ""},
		{"# only\n\n   \n;words\n", ""},
		{"192.0.2.1\n2001:db8::/32", "192.0.2.1 2001:db8::/32"},
		{"\ufeff192.0.2.1\r\n192.0.2.8/29 # why\r\n", "192.0.2.1 192.0.2.8/29"},
		{"1.10.16.0/20 ; SBL256894\n", "1.10.16.0/20"},
		{"192.0.2.1-192.0.2.9\n192.0.2.100 - 192.0.2.101\n", "192.0.2.1-192.0.2.9 192.0.2.100/31"},
		{"::ffff:192.0.2.0/120\n[2001:db8::1]\n", "192.0.2.0/24 2001:db8::1"},
		// nginx includes, as block lists are given out.
		{"deny 192.0.2.1;\ndeny 2001:db8::/32;\n", "192.0.2.1 2001:db8::/32"},
		{"allow 192.0.2.1;\n\tallow   192.0.2.2 ;\ndeny all;\n", "192.0.2.1-192.0.2.2"},
		{"192.0.2.1 - 192.0.2.9\n192.0.2.10 -192.0.2.19\n192.0.2.20-\t192.0.2.29 # x\n", "192.0.2.1-192.0.2.29"},
		// Host bits are masked, with a warning.
		{"1.2.3.4/0\n", "0.0.0.0/0 (1.2.3.4/0 at t.txt:1: host bits set; taken as \"0.0.0.0/0\", which is everybody of its family)"},
		{"10.1.2.3/8\n", "10.0.0.0/8 (10.1.2.3/8 at t.txt:1: host bits set; taken as \"10.0.0.0/8\")"},
	} {
		var b acl.SetBuilder
		warnings, err := Read(strings.NewReader(row.text), "t.txt", &b)
		var got []string
		for _, r := range b.Build().Ranges() {
			got = append(got, r.Short())
		}
		for _, w := range warnings.Lines {
			got = append(got, fmt.Sprintf("(%s at %s: %s)", w.Text, w.Pos, w.Msg))
		}
		if err != nil || strings.Join(got, " ") != row.want {
			t.Errorf("%q: %v, %v; want %s", row.text, got, err, row.want)
		}
	}
}

func TestReadMistakes(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"192.0.2.1\n10.0.0.0/33\n", `t.txt:2: "10.0.0.0/33": the length is a number from 0 to 32`},
		{"0177.0.0.1\n", `t.txt:1: "0177.0.0.1": a leading zero means octal to some programs; write "177.0.0.1" (or "127.0.0.1" if octal was meant)`},
		{"198.51.100\n", `t.txt:1: "198.51.100": short form; write "198.51.100.0/24" for the network, or "198.51.0.100" for the address that some programs read`},
		{"192.0.2.1- -192.0.2.2\n", `t.txt:1: "192.0.2.1- -192.0.2.2": one entry a line; begin a comment with "#"`},
		{"192.0.2.1 192.0.2.2\n", `t.txt:1: "192.0.2.1 192.0.2.2": one entry a line; begin a comment with "#"`},
		{"example.com\n", `t.txt:1: "example.com": not an IP address; write one like "192.0.2.1" or "2001:db8::1"`},
		{"fe80::1%eth0\n", `t.txt:1: "fe80::1%eth0": a zone matches no client; write the address without "%…"`},
		{"deny 192.0.2.1; allow 192.0.2.2;\n", `t.txt:1: "deny 192.0.2.1; allow 192.0.2.2;": two directives; write each on a line of its own`},
		{"all\n", `t.txt:1: "all": not an IP address; write one like "192.0.2.1" or "2001:db8::1"`},
		{"deny all;\n", `t.txt:1: "deny all": "all" is no entry of a list`},
		{"deny 192.0.2.1;\nallow 192.0.2.2;\n", `t.txt:2: "allow 192.0.2.2": a list holds one kind; this one began with "deny"`},
		{"\x00\n", `t.txt:1: "\x00": not an IP address; write one like "192.0.2.1" or "2001:db8::1"`},
		{strings.Repeat("x", 2000), `t.txt:1: "` + strings.Repeat("x", 80) + `": a line of 2000 bytes`},
		{strings.Repeat("x\n", 22), strings.Join(repeated(20), "\n") + "\nand 2 more"},
	} {
		var b acl.SetBuilder
		_, err := Read(strings.NewReader(row.text), "t.txt", &b)
		if fmt.Sprint(err) != row.want {
			t.Errorf("%q:\n got %v\nwant %s", row.text[:min(30, len(row.text))], err, row.want)
		}
	}
}

// A bad entry anywhere refuses the file and is told by its line.
func TestOneBadLineRefusesTheFile(t *testing.T) {
	good := []string{"192.0.2.1", "# words", "2001:db8::/32", "", "10.0.0.1-10.0.0.9", "::ffff:198.51.100.0/120"}
	for _, bad := range []string{"10.0.0.0/33", "2001:db8::/129", "10.0.0.0/", "/8", "10.0.0", "010.0.0.1", "0x0a.0.0.1", "10.0.0.256", "10.0.0.1.2",
		"10.0.0.0/255.0.0.0", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.9-10.0.0.1", "10.0.0.1-", "10.0.0.1-9", "10.0.0.1-::1", "::ffff:0:0/95", "2001:db8:::1",
		"2001:db8::12345", "fe80::1%eth0", "[10.0.0.1]", "[2001:db8::1", "10.0.0.1,10.0.0.2", "10.0.0.1 10.0.0.2", "!10.0.0.1", "*", "any", "localhost",
		"10.0.0.1\x00", "\uff11.2.3.4", "deny", "allow all;", "deny 10.0.0.1 10.0.0.2;"} {
		for at := range len(good) + 1 {
			lines := slices.Insert(slices.Clone(good), at, bad)
			var b acl.SetBuilder
			_, err := Read(strings.NewReader(strings.Join(lines, "\n")), "t.txt", &b)
			m, ok := err.(*Mistakes)
			if !ok || m.Total != 1 || m.Lines[0].Pos != (acl.Pos{File: "t.txt", Line: at + 1}) || m.Lines[0].Msg == "" {
				t.Errorf("%q as line %d: %v", bad, at+1, err)
			}
		}
	}
}

func repeated(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf(`t.txt:%d: "x": not an IP address; write one like "192.0.2.1" or "2001:db8::1"`, i+1))
	}
	return out
}

// What a list file holds, line by line, decides as the set does.
func FuzzRead(f *testing.F) {
	f.Add("192.0.2.0/24\n2001:db8::/32\n10.0.0.1-10.0.0.9 # x\n", "192.0.2.7")
	f.Add("deny 192.0.2.1;\nallow all;", "192.0.2.1")
	f.Fuzz(func(t *testing.T, text, client string) {
		var b acl.SetBuilder
		if _, err := Read(strings.NewReader(text), "t.txt", &b); err != nil {
			if len(err.Error()) > 30*200 || strings.ContainsAny(err.Error(), "\x00\x1b\r") {
				t.Fatalf("error %q", err)
			}
			return
		}
		set := b.Build()
		a, err := acl.ParseAddr(client)
		if err != nil {
			return
		}
		want := false
		for line := range strings.Lines(text) {
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "\ufeff"), "#")
			line, _, _ = strings.Cut(line, ";")
			words := strings.Fields(line)
			if len(words) > 1 && (words[0] == "allow" || words[0] == "deny") {
				words = words[1:]
			}
			if r, _, err := acl.ParseFileEntry(strings.Join(words, "")); err == nil {
				want = want || r.Contains(a)
			}
		}
		if got := set.Contains(a); got != want {
			t.Fatalf("%q contains %v: %v, want %v", text, a, got, want)
		}
	})
}

// millionLines is a list file of a million prefixes, half of each family.
func millionLines() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := range 1_000_000 {
		if i%2 == 0 {
			v := r.Uint32N(224 << 24)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), 20+r.IntN(13))
			fmt.Fprintln(&b, p.Masked())
			continue
		}
		ip := [16]byte{0x20 + byte(r.IntN(32))}
		for j := 1; j < len(ip); j++ {
			ip[j] = byte(r.Uint32())
		}
		fmt.Fprintln(&b, netip.PrefixFrom(netip.AddrFrom16(ip), 32+r.IntN(97)).Masked())
	}
	return b.Bytes()
}

// Loading a million prefixes takes at most 1.5 s and, with all garbage, keeps
// at most 150 MB. Asserted is the CPU time, which a busy machine stretches
// less, with room for the race detector.
func TestMillionPrefixes(t *testing.T) {
	if testing.Short() {
		t.Skip("a million prefixes: -short")
	}
	path := filepath.Join(t.TempDir(), "million.txt")
	if err := os.WriteFile(path, millionLines(), 0o600); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, peak, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := cpuTime(t)
	set, _, err := Load(path)
	took := cpuTime(t) - start
	runtime.ReadMemStats(&peak)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d spans in %v of CPU; %d MB held, %d MB before the next collection", set.Len(), took,
		(after.HeapAlloc-before.HeapAlloc)>>20, (peak.HeapAlloc-before.HeapAlloc)>>20)
	if held := (after.HeapAlloc - before.HeapAlloc) >> 20; held > 150 {
		t.Errorf("%d MB held, want at most 150", held)
	}
	if took > 30*time.Second {
		t.Errorf("took %v of CPU, want at most 1.5s on an idle machine", took)
	}
	runtime.KeepAlive(set)
}

// cpuTime is what this process has had of the CPU.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLoadMillion(b *testing.B) {
	path := filepath.Join(b.TempDir(), "million.txt")
	if err := os.WriteFile(path, millionLines(), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Load(path); err != nil {
			b.Fatal(err)
		}
	}
}
