package web

import (
	"fmt"
	"testing"

	"genkan/acl"
)

func TestTable(t *testing.T) {
	var table Table[string]
	if !table.Empty() {
		t.Error("the zero Table is not empty")
	}
	if got, ok := table.Find("a.test"); ok {
		t.Errorf("the zero Table finds %q", got)
	}
	for _, pattern := range []string{"a.test", "*.test", "*.a.test", "192.0.2.1"} {
		if err := table.Add(pattern, pattern); err != nil {
			t.Fatal(err)
		}
	}
	check := func(host, want string) {
		t.Helper()
		if got, ok := table.Find(host); got != want || ok != (want != "") {
			t.Errorf("Find(%q) = %q, %v, want %q", host, got, ok, want)
		}
	}
	check("a.test", "a.test")
	check("b.test", "*.test")
	check("x.a.test", "*.a.test")
	check("x.y.a.test", "*.a.test")
	check("x.b.test", "*.test")
	check("test", "")
	check("", "")
	check("192.0.2.1", "192.0.2.1")
	for _, pattern := range []string{"a.test", "*.test"} {
		if err := table.Add(pattern, ""); err == nil || err.Error() != fmt.Sprintf("host %q is given twice on one listener", pattern) {
			t.Errorf("Add(%q) again: %v", pattern, err)
		}
	}
	if err := table.Add("default", "any"); err != nil {
		t.Fatal(err)
	}
	check("", "any")
	check("test", "any")
	check("a.test", "a.test")
}

func TestClaims(t *testing.T) {
	for _, row := range []struct {
		name string
		want bool
	}{
		{"X-Forwarded-For", true}, {"x_forwarded_for", true}, {"X.Forwarded.For", true}, {"X-Forwarded_Prefix", true},
		{"X~Forwarded~For", true}, {"X!Real|IP", true}, {"X-Forwarded", true}, {"FORWARDED", true}, {"X-Real-IP", true}, {"x-real_ip", true}, {"Proxy", true},
		{"Client-IP", true}, {"CF-Connecting-IP", true}, {"CF_Pseudo_IPv4", true}, {"True-Client-IP", true}, {"X-Client-IPv6", true},
		{"X-Envoy-External-Address", true}, {"Forwarded-For", true}, {"X-SSL-Client-S-DN", true}, {"Client-Cert-Chain", true},
		{"Forward", false}, {"X-Request-Id", false}, {"Proxy-Authorization", false}, {"Host", false}, {"Cookie", false},
		{"__RequestVerificationToken", false}, {"X-Real-Name", false},
	} {
		if got := Claims(row.name); got != row.want {
			t.Errorf("Claims(%q) = %v, want %v", row.name, got, row.want)
		}
	}
}

func TestIdentityFields(t *testing.T) {
	addr := func(text string) acl.Addr {
		a, err := acl.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	six := Identity{Client: addr("2001:db8::1"), Scheme: "https", Host: "a.test:8443", Pseudo: addr("100.64.0.7")}
	four := Identity{Client: addr("::ffff:192.0.2.1"), Scheme: "http"}
	for _, row := range []struct {
		id   Identity
		way  string
		want string
	}{
		{six, "x-forwarded-for", "[{X-Forwarded-For 2001:db8::1} {X-Forwarded-Proto https} {X-Forwarded-Host a.test:8443}]"},
		{six, "forwarded", `[{Forwarded for="[2001:db8::1]";proto=https;host="a.test:8443"}]`},
		{six, "x-real-ip", "[{X-Real-IP 2001:db8::1}]"},
		{six, "pseudo-ipv4", "[{P 100.64.0.7} {X-Client-IPv6 2001:db8::1}]"},
		{four, "x-forwarded-for", "[{X-Forwarded-For 192.0.2.1} {X-Forwarded-Proto http}]"},
		{four, "forwarded", "[{Forwarded for=192.0.2.1;proto=http}]"},
		{four, "pseudo-ipv4", "[{P 192.0.2.1}]"},
		{Identity{Client: addr("2001:db8::1")}, "pseudo-ipv4", "[]"},
		{six, "unknown", "[]"},
	} {
		if got := fmt.Sprint(row.id.AppendTo(nil, []string{row.way}, "P")); got != row.want {
			t.Errorf("%v by %s: %s, want %s", row.id, row.way, got, row.want)
		}
	}
}
