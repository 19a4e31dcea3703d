package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genkan/tunnel"
)

func TestFirstConfig(t *testing.T) {
	h := hostLook{
		local:   netip.MustParseAddr("203.0.113.5"),
		servers: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:80"), netip.MustParseAddrPort("10.0.0.1:25")},
	}
	const want = `# Genkan's configuration; genkan check tells every mistake in it, with its place and the fix.

[tunnel]
prefix = "2001:e41::/32" # the provider's 6rd prefix
relays = ["61.211.224.125"] # its border relays
# local = "203.0.113.5" # found: our IPv4 address

[forward.port80]
listen = "tunnel:80"
to     = "127.0.0.1:80"
access = ["limit 30/10s", "allow all"]

[forward.port25]
listen   = "tunnel:25"
to       = "10.0.0.1:25"
access   = ["limit 30/10s", "allow all"]
protocol = "smtp" # for sensible bounds, which genkan check shows
announce = ["proxy-v2"] # else all clients look like this host, which the server trusts: an open relay
`
	got, err := firstConfig(h, "2001:e41::/32", []string{"61.211.224.125"})
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	// A domain by DHCP is followed, and what the operator names comes before it.
	h.leased = tunnel.Config{Prefix: netip.MustParsePrefix("2001:e41::/32"), Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}
	const leased = "\n[tunnel]\ndhcp = true # found: 2001:e41::/32, relays [198.51.100.1], which are followed as they change\n"
	got, err = firstConfig(h, "", nil)
	if err != nil || !strings.Contains(string(got), leased) || !strings.Contains(string(got), `listen = "tunnel:80"`) {
		t.Errorf("%v, got:\n%s\nwant in it:\n%s", err, got, leased)
	}
	if got, err = firstConfig(h, "2001:db8::/32", []string{"192.0.2.1"}); err != nil || strings.Contains(string(got), "dhcp") {
		t.Errorf("%v, got:\n%s", err, got)
	}
	// FTP needs to be known as such.
	if got, err = firstConfig(hostLook{servers: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:21")}}, "", nil); err != nil || !strings.Contains(string(got), `protocol = "ftp"`) {
		t.Errorf("%v, got:\n%s", err, got)
	}
}

// A server on the loopback alone is hidden on purpose: nothing may lead to it, but it is named.
func TestInitOpensNothingHidden(t *testing.T) {
	found := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:6379"), netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("10.0.0.1:53"),
		netip.MustParseAddrPort("127.0.0.53:3306"), netip.MustParseAddrPort("0.0.0.0:22"),
	}
	got, err := firstConfig(hostLook{servers: onePerPort(found)}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, servers, _ := strings.Cut(string(got), "relays = [\"192.0.2.1\"]\n")
	const want = `
[forward.port22]
listen   = "[::]:22"
to       = "127.0.0.1:22"
access   = ["limit 30/10s", "allow all"]
protocol = "ssh" # for sensible bounds, which genkan check shows

[forward.port53]
listen   = "[::]:53"
to       = "10.0.0.1:53"
access   = ["limit 30/10s", "allow all"]
protocol = "dns" # for sensible bounds, which genkan check shows
announce = ["proxy-v2"] # else all clients look like this host, which the server trusts: an open relay

# These listen for this host alone, so nothing here leads to them; where all may come, write a [forward] as above:
# 127.0.0.53:3306, 127.0.0.1:6379
`
	if servers != want {
		t.Errorf("got:\n%s\nwant:\n%s", servers, want)
	}
	if got, err = firstConfig(hostLook{servers: found[:1]}, "", nil); err != nil || strings.Contains(string(got), "port6379") {
		t.Errorf("%v, got:\n%s", err, got)
	}
}

// What is given on the command line is wrong there, not in a file that is gone again.
func TestInitMistakes(t *testing.T) {
	for _, row := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--relay", "192.0.2.1"}, 2, "genkan: --relay 192.0.2.1 without --prefix; write both, or none\n"},
		{[]string{"--prefix", "2001:db8::/32"}, 2, "genkan: --prefix 2001:db8::/32 without --relay; write both, or none\n"},
		{[]string{"--prefix", "2001:db8::/129", "--relay", "192.0.2.1"}, 1,
			"what init would write:4:10: prefix \"2001:db8::/129\": the length is a number from 0 to 128\n"},
	} {
		if status, _, complaint := genkan("", append([]string{"init", "-"}, row.args...)...); status != row.status || complaint != row.want {
			t.Errorf("%q: status %d, %q; want %d, %q", row.args, status, complaint, row.status, row.want)
		}
	}
}

// What init finds on this machine, whatever it is, makes a configuration that holds.
func TestInitHere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etc", "genkan.toml")
	if status, _, complaint := genkan("", "init", file); status != 0 {
		t.Fatal(complaint)
	}
	if status, _, complaint := genkan("", "check", "-c", file); status != 0 {
		text, _ := os.ReadFile(file)
		t.Fatalf("%s\n%s", complaint, text)
	}
	want := "genkan: " + file + " exists and is not touched; name another file\n"
	if status, _, complaint := genkan("", "init", file); status != 1 || complaint != want {
		t.Errorf("status %d, %q; want %q", status, complaint, want)
	}
}
