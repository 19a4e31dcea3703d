package forwarded

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"genkan/acl"
)

// Every row of acl-cases.tsv that has a header: who is the client, and the
// verdict on it.
func TestACLVectors(t *testing.T) {
	data, err := os.ReadFile("../testdata/acl-cases.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		f := strings.Split(line, "\t")
		id, rules, options, peer, via, want, verdict, note := f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[8]
		if !strings.Contains(options, "hdr=") {
			continue
		}
		rows++
		client, err := resolver(t, options).Client(mustAddr(t, peer), fields(t, options, via))
		if verdict == "reject-400" {
			if err == nil {
				t.Errorf("%s: client %v, want an error (%s)", id, client, note)
			}
			continue
		}
		if err != nil || client.String() != want {
			t.Errorf("%s %s: client %v, %v; want %s (%s)", id, via, client, err, want, note)
		}
		if got := allows(t, rules, client); got != (verdict == "allow") {
			t.Errorf("%s %s: allowed %v, want %s", id, via, got, verdict)
		}
	}
	if rows < 14 {
		t.Errorf("only %d rows", rows)
	}
}

// resolver reads "trusted=PREFIX hdr=xff|forwarded".
func resolver(t *testing.T, options string) (r Resolver) {
	t.Helper()
	for _, option := range strings.Fields(options) {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "trusted":
			p, err := acl.ParsePrefix(value)
			if err != nil {
				t.Fatal(err)
			}
			r.Trusted = acl.NewList(acl.SetOf(p))
		case "hdr":
			r.Header = map[string]Header{"xff": XForwardedFor, "forwarded": Forwarded}[value]
		}
	}
	return r
}

// fields returns the values of the configured header, as net/http sorts them.
func fields(t *testing.T, options, via string) []string {
	t.Helper()
	header := http.Header{}
	for _, line := range strings.Split(via, "|") {
		name, value, _ := strings.Cut(line, ": ")
		if rest, ok := strings.CutPrefix(value, "@repeat("); ok {
			args, tail, _ := strings.Cut(rest, ")")
			n, unit, _ := strings.Cut(args, ",")
			count, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			value = strings.Repeat(unit, count) + tail
		}
		header.Add(name, value)
	}
	return header[string(resolver(t, options).Header)]
}

func allows(t *testing.T, rules string, client acl.Addr) bool {
	t.Helper()
	var texts []acl.RuleText
	for _, rule := range strings.Split(rules, "; ") {
		if what, ok := strings.CutPrefix(rule, "default "); ok {
			rule = what + " all"
		}
		texts = append(texts, acl.RuleText{Text: rule})
	}
	p, err := acl.Compile(texts, acl.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Check(acl.Client{Addr: client}).Allow
}

func mustAddr(t *testing.T, s string) acl.Addr {
	t.Helper()
	a, err := acl.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestClient(t *testing.T) {
	for _, row := range []struct {
		header Header
		peer   string
		lines  []string
		want   string
	}{
		// Nobody is believed but the trusted.
		{XForwardedFor, "198.51.100.1", []string{"203.0.113.7"}, "198.51.100.1"},
		{"", "10.0.0.2", []string{"203.0.113.7"}, "10.0.0.2"},
		{XForwardedFor, "10.0.0.2", nil, "10.0.0.2"},
		// All the way through trusted proxies: the first of them is the client.
		{XForwardedFor, "10.0.0.2", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		{XForwardedFor, "10.0.0.2", []string{"203.0.113.7", "10.2.2.2,\t10.3.3.3"}, "203.0.113.7"},
		{XForwardedFor, "10.0.0.2", []string{"203.0.113.7, , 10.2.2.2"}, "10.2.2.2"},
		{XForwardedFor, "10.0.0.2", []string{"203.0.113.7:4711"}, "203.0.113.7"},
		{XForwardedFor, "10.0.0.2", []string{"unknown, 10.2.2.2"}, "10.2.2.2"},
		{XForwardedFor, "10.0.0.2", []string{"::ffff:10.9.9.9"}, "10.9.9.9"},
		// IPv6 proxies, one of them out of the trusted network.
		{XForwardedFor, "2001:db8::1", []string{"203.0.113.7, 2001:db8::2"}, "203.0.113.7"},
		{XForwardedFor, "2001:db8::1", []string{"203.0.113.7, 2001:db9::2"}, "2001:db9::2"},
		// RFC 7239 §4, its examples.
		{Forwarded, "10.0.0.2", []string{`for=192.0.2.43, for="[2001:db8:cafe::17]"`}, "2001:db8:cafe::17"},
		{Forwarded, "10.0.0.2", []string{`For="[2001:db9:cafe::17]:4711"`}, "2001:db9:cafe::17"},
		{Forwarded, "10.0.0.2", []string{`for=192.0.2.60;proto=http;by=203.0.113.43`}, "192.0.2.60"},
		{Forwarded, "10.0.0.2", []string{`for=192.0.2.60 ; proto=http`, `by=203.0.113.43;for=10.2.2.2`}, "192.0.2.60"},
		{Forwarded, "10.0.0.2", []string{`for="192.0.2.\60"`}, "192.0.2.60"},
		// No "for", a hidden one, two in one element, broken quotes: the walk ends.
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7, proto=https`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7, for=_hidden`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7, for=unknown, for=10.3.3.3`}, "10.3.3.3"},
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7;for=10.3.3.3`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for="203.0.113.7`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7`, `for="10.3.3.3", for="x`}, "10.0.0.2"},
		// An open quote in front does not hide what the proxies appended.
		{Forwarded, "10.0.0.2", []string{`for=203.0.113.7, for="x, for=198.51.100.9, for=10.3.3.3`}, "198.51.100.9"},
		{Forwarded, "10.0.0.2", []string{`for=[2001:db8::1]`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for="2001:db8::1"`}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{"for=\"192.0.2.1\x00\""}, "10.0.0.2"},
		{Forwarded, "10.0.0.2", []string{`for="_x, for=203.0.113.7", for=10.3.3.3`}, "10.3.3.3"},
	} {
		trusted := acl.NewList(acl.SetOf(must(acl.ParsePrefix("10.0.0.0/8")), must(acl.ParsePrefix("2001:db8::/64"))))
		r := Resolver{row.header, trusted}
		if got, err := r.Client(mustAddr(t, row.peer), row.lines); err != nil || got.String() != row.want {
			t.Errorf("%s from %s: %q is %v, %v; want %s", row.header, row.peer, row.lines, got, err, row.want)
		}
	}
}

func TestBounds(t *testing.T) {
	r := Resolver{XForwardedFor, acl.NewList(acl.SetOf(must(acl.ParsePrefix("10.0.0.0/8"))))}
	for _, row := range []struct {
		line, want string
	}{
		{strings.Repeat("203.0.113.7,", 8000), "X-Forwarded-For has 96001 bytes; at most 8192 are read"},
		{strings.Repeat("::,", 101), "X-Forwarded-For has more than 100 elements"},
	} {
		_, err := r.Client(mustAddr(t, "10.0.0.2"), []string{row.line})
		if fmt.Sprint(err) != row.want {
			t.Errorf("got %v, want %s", err, row.want)
		}
		// Whom we do not believe may write what he likes.
		if got, err := r.Client(mustAddr(t, "192.0.2.1"), []string{row.line}); err != nil || got.String() != "192.0.2.1" {
			t.Errorf("from a stranger: %v, %v", got, err)
		}
	}
}

func TestParseHeader(t *testing.T) {
	if h, err := ParseHeader("x-forwarded-for"); h != XForwardedFor || err != nil {
		t.Errorf("%q, %v", h, err)
	}
	want := `"x-real-ip" is not a header that tells the client; write "x-forwarded-for" or "forwarded"`
	if _, err := ParseHeader("x-real-ip"); fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// The element that decides is one that the right end of the header gives,
// whatever an attacker wrote in front of it: a trusted proxy's own element is
// never lost, and what it appended is what is read.
func FuzzAttackerInFront(f *testing.F) {
	for _, s := range []string{"203.0.113.7", `for="`, "for=\"x, for=203.0.113.7", ",,,", "10.0.0.1", "\\\"", ";;=;"} {
		f.Add(s)
	}
	trusted := acl.NewList(acl.SetOf(must(acl.ParsePrefix("10.0.0.0/8"))))
	peer := must(acl.ParseAddr("10.0.0.2"))
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4096 {
			return
		}
		for header, lines := range map[Header][][]string{
			XForwardedFor: {{s + ", 198.51.100.9"}, {s, "198.51.100.9"}},
			Forwarded:     {{s + ", for=198.51.100.9"}, {s, "for=198.51.100.9"}},
		} {
			for _, l := range lines {
				got, err := Resolver{header, trusted}.Client(peer, l)
				if err == nil && got.String() != "198.51.100.9" {
					t.Fatalf("%s %q: client %v", header, l, got)
				}
			}
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
