package demo

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"genkan/integration/lab"
)

// sixInFour is the start of a 6rd packet with the lab's addresses.
func sixInFour(inner netip.Addr) []byte {
	b := make([]byte, 60)
	b[0], b[9], b[20] = 0x45, 41, 0x60
	copy(b[12:], lab.RelayV4.AsSlice())
	copy(b[16:], lab.FrontV4.AsSlice())
	copy(b[28:], inner.AsSlice())
	copy(b[44:], lab.Front6.AsSlice())
	return b
}

func TestParse(t *testing.T) {
	got, ok := parse(sixInFour(lab.Client6))
	want := sighting{lab.RelayV4, lab.FrontV4, lab.Client6, lab.Front6}
	if !ok || got != want {
		t.Errorf("parse: %v, %v, want %v", got, ok, want)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"short":   func(b []byte) []byte { return b[:59] },
		"options": func(b []byte) []byte { b[0] = 0x46; return b },
		"not-41":  func(b []byte) []byte { b[9] = 6; return b },
		"not-6":   func(b []byte) []byte { b[20] = 0x45; return b },
	} {
		if got, ok := parse(spoil(sixInFour(lab.Client6))); ok {
			t.Errorf("%s: parsed as %v", name, got)
		}
	}
}

func TestJudge(t *testing.T) {
	in, out := visitors[0], visitors[2]
	saw := []visit{{remote: "10.0.0.1", forwarded: "2001:db8:6::10"}}
	allow, deny := verdict{Verdict: "allow"}, verdict{Verdict: "deny"}
	for _, row := range []struct {
		good bool
		v    visitor
		code int
		rule verdict
		seen []visit
	}{
		{true, in, 200, allow, saw},
		{false, in, 200, allow, nil},
		{false, in, 200, allow, []visit{{remote: "10.0.0.1", forwarded: "::ffff:192.0.2.1"}}},
		{false, in, 200, deny, saw},
		{false, in, 502, allow, nil},
		{true, out, 403, deny, nil},
		{false, out, 403, deny, saw},
		{false, out, 200, deny, saw},
		{false, out, 403, allow, nil},
	} {
		err := judge(row.v, answer{code: row.code}, row.rule, row.seen)
		if (err == nil) != row.good {
			t.Errorf("judge(%s, %d, %q, %v) = %v, want good: %v", row.v.from, row.code, row.rule.Verdict, row.seen, err, row.good)
		}
	}
}

// All that is told fits a terminal of 80 columns, with the longest process id.
func TestWidth(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out}
	p.opening(frontConfig)
	for i, v := range visitors {
		p.act(i+1, v)
		p.tunnel(sighting{lab.RelayV4, lab.FrontV4, lab.Client6, lab.Front6})
		p.verdict(verdict{"deny", "deny blocked", 11})
		p.backend([]visit{{remote: "10.0.0.1", forwarded: v.from.String()}})
		p.backend(nil)
		p.answer(answer{status: "403 Forbidden", took: 1234567 * time.Microsecond})
	}
	p.allGood()
	l := &lab.Lab{}
	for _, n := range []struct {
		ns   **lab.Namespace
		name string
	}{{&l.Client6, "client6"}, {&l.Client4, "client4"}, {&l.Front, "front"}, {&l.Backend, "backend"}} {
		*n.ns = &lab.Namespace{Name: n.name, Path: "genkan4194304-" + n.name}
	}
	p.hints(l)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if testing.Verbose() {
		t.Log("\n" + out.String())
	}
}
