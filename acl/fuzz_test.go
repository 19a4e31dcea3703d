package acl

import (
	"net/netip"
	"strings"
	"testing"
)

// seed adds every input of the address vectors.
func seed(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "::ffff:192.0.2.1", "[2001:db8::]/32", "1:2:3:4:5:6:7::", "fe80::1%eth0", "10/8",
		"192.0.2.1-192.0.2.9", "[::1]:80", "0x7f.1:80", "name.example:443", "2001:db8::1.2.3.4", "64:ff9b:1:a9fe:a9:fe00:808:808", "[fe80::1%2525]:80", "\u0130:0"} {
		f.Add(s)
	}
}

func FuzzParseAddr(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddr(s)
		want, _, ok := slowAddr(s)
		if ok != (err == nil) {
			t.Fatalf("ParseAddr(%q) = %v, %v; the oracle says %v", s, a, err, ok)
		}
		if !ok {
			checkError(t, s, err)
			return
		}
		if a.Netip() != slowNetip(want) {
			t.Fatalf("ParseAddr(%q) = %v, want %v", s, a, slowNetip(want))
		}
		if b, err := ParseAddr(a.String()); b != a || err != nil {
			t.Fatalf("ParseAddr(%q) = %v, %v; want %v", a.String(), b, err, a)
		}
		if strings.Contains(a.String(), "%") || a.Netip().Is4In6() {
			t.Fatalf("ParseAddr(%q) = %v: not canonical", s, a)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePrefix(s)
		ip, bits, ok := slowPrefix(s)
		if ok != (err == nil) {
			t.Fatalf("ParsePrefix(%q) = %v, %v; the oracle says %v", s, p, err, ok)
		}
		if !ok {
			checkError(t, s, err)
			return
		}
		want := netip.PrefixFrom(slowNetip(ip), bits)
		if slowIs4(ip) {
			want = netip.PrefixFrom(slowNetip(ip), bits-96)
		}
		if p.Netip() != want {
			t.Fatalf("ParsePrefix(%q) = %v, want %v", s, p, want)
		}
		if q, err := ParsePrefix(p.String()); q != p || err != nil {
			t.Fatalf("ParsePrefix(%q) = %v, %v; want %v", p.String(), q, err, p)
		}
		r := RangeOf(p)
		for _, a := range []Addr{r.First, r.Last, {r.First.ip.Prev()}, {r.Last.ip.Next()}} {
			in := a.IsValid() && slowContains(ip, bits, a.ip.As16())
			if p.Contains(a) != in || r.Contains(a) != in {
				t.Fatalf("%v contains %v: prefix %v, range %v; want %v", p, a, p.Contains(a), r.Contains(a), in)
			}
		}
	})
}

func FuzzParseRange(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		ok := false
		// A zone may hold a "-", and every zone is refused: any cut will do.
		if first, last, cut := strings.Cut(s, "-"); cut {
			a, za, oka := slowAddr(first)
			b, zb, okb := slowAddr(last)
			ok = oka && okb && za+zb == "" && slowIs4(a) == slowIs4(b) && string(a[:]) <= string(b[:])
		}
		if ok != (err == nil) {
			t.Fatalf("ParseRange(%q) = %v, %v; the oracle says %v", s, r, err, ok)
		}
		if !ok {
			checkError(t, s, err)
			return
		}
		if q, err := ParseRange(r.String()); q != r || err != nil {
			t.Fatalf("ParseRange(%q) = %v, %v; want %v", r.String(), q, err, r)
		}
	})
}

func FuzzParseHostPort(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, s string) {
		hp, err := ParseHostPort(s)
		if err != nil {
			checkError(t, s, err)
			return
		}
		i := strings.LastIndex(s, ":")
		if !slowPort.MatchString(s[i+1:]) {
			t.Fatalf("ParseHostPort(%q) = %v: port", s, hp)
		}
		host := s[:i]
		ip, _, isAddr := slowAddr(strings.Replace(host, "%25", "%", 1)) // RFC 6874
		switch {
		case hp.Name != "":
			if isAddr || !strings.EqualFold(hp.Name, strings.TrimSuffix(host, ".")) {
				t.Fatalf("ParseHostPort(%q) = name %q", s, hp.Name)
			}
		case hp.Addr.IsValid():
			if !isAddr || hp.Addr.Netip() != slowNetip(ip) {
				t.Fatalf("ParseHostPort(%q) = address %v", s, hp.Addr)
			}
		case host != "":
			t.Fatalf("ParseHostPort(%q) = %v: host lost", s, hp)
		}
		if q, err := ParseHostPort(hp.String()); q != hp || err != nil {
			t.Fatalf("ParseHostPort(%q) = %v, %v; want %v", hp.String(), q, err, hp)
		}
	})
}

func FuzzParseElements(f *testing.F) {
	seed(f)
	for _, s := range []string{"192.0.2.1:00080", "[2001:db8::1]:_p.0-x", "\t192.0.2.1:65536 ", "[::ffff:192.0.2.1]:0", "192.0.2.1:000000", "[192.0.2.1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []Kind{KindXFF, KindFwd} {
			id, err := identify(kind, s)
			ip, want := slowElement(kind, s)
			if (err == nil) != want || want && id.addr.Netip() != slowNetip(ip) {
				t.Fatalf("%s %q = %v, %v; the oracle says %v, %v", kind, s, id.addr, err, slowNetip(ip), want)
			}
			if err != nil {
				checkError(t, s, err)
			}
		}
	})
}

// One rule, as text, against the slow parsers: it compiles if and only if each
// word is a target, and it decides as they say.
func FuzzRule(f *testing.F) {
	for _, s := range []string{"allow all", "deny 192.0.2.0/24 2001:db8::/32", "deny blocked 192.0.2.1-192.0.2.9", "allow 6rd:192.0.2.0/24",
		"deny 6to4:192.0.2.0/24", "limit 6/30s per /64 ipv6", "conns 3", "allow [2001:db8::]/32", "allow ::ffff:192.0.2.0/120"} {
		f.Add(s, "192.0.2.7")
		f.Add(s, "2002:c000:207::1")
	}
	f.Fuzz(func(t *testing.T, rule, text string) {
		env := tunnelEnv()
		p, err := Compile([]RuleText{{Text: rule}}, env)
		words := strings.Fields(rule)
		if err != nil {
			if _, ok := err.(Errors); !ok || len(err.Error()) > 1000*(1+len(words)) || strings.ContainsAny(err.Error(), "\r\x00\x1b") {
				t.Fatalf("%q: error %T %q", rule, err, err)
			}
		}
		if len(words) < 2 || words[0] != "allow" && words[0] != "deny" {
			if err == nil && len(words) > 0 && words[0] != "limit" && words[0] != "conns" {
				t.Fatalf("%q compiles", rule)
			}
			return
		}
		want := true
		for _, w := range words[1:] {
			want = want && slowIsTarget(w, words[0])
		}
		if want != (err == nil) {
			t.Fatalf("%q: %v; the oracle says %v", rule, err, want)
		}
		a, aerr := ParseAddr(text)
		if err != nil || aerr != nil {
			return
		}
		c := Client{Addr: a, Tunnel: len(text)%2 == 0}
		hit := false
		for _, w := range words[1:] {
			hit = hit || slowTarget(w, words[0] == "deny", env, c)
		}
		v := p.Check(c)
		if decided := v.Rule != ""; decided != hit || v.Allow != (hit && words[0] == "allow") {
			t.Fatalf("%q %v: %+v; the oracle says %v", rule, c, v, hit)
		}
	})
}

// slowIsTarget says whether a word is a target, by the slow parsers.
func slowIsTarget(w, verb string) bool {
	for _, known := range []string{"all", "ipv4", "ipv6", "blocked", "empty"} {
		if w == known {
			return true
		}
	}
	for _, by := range []string{"6rd:", "nat64:", "6to4:"} {
		if rest, ok := strings.CutPrefix(w, by); ok {
			ip, _, ok := slowPrefix(rest)
			return ok && slowIs4(ip) && (verb == "deny" || by == "6rd:")
		}
	}
	if first, last, ok := strings.Cut(w, "-"); ok {
		a, za, oka := slowAddr(first)
		b, zb, okb := slowAddr(last)
		return oka && okb && za+zb == "" && slowIs4(a) == slowIs4(b) && string(a[:]) <= string(b[:])
	}
	_, _, ok := slowPrefix(w)
	return ok
}

// checkError insists on an error of the documented type that is short, on one
// line, and does not repeat a stranger's bytes raw.
func checkError(t *testing.T, s string, err error) {
	t.Helper()
	pe, ok := err.(*ParseError)
	if !ok || pe.Text != s {
		t.Fatalf("error %T %v for %q, want a *ParseError that has the text", err, err, s)
	}
	if msg := err.Error(); len(msg) > 1000 || strings.ContainsAny(msg, "\r\n\x00\x1b") {
		t.Fatalf("error for %q is %q", s, msg)
	}
}
