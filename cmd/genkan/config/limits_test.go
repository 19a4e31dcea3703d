package config

import (
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"testing"

	"genkan/acl"
)

// Datagrams with false addresses fill the counters of forwards over UDP, where
// newcomers are refused then, and nothing else: a site's gates, and those of a
// forward over TCP, have theirs.
func TestFalseAddressesShutOutNobodyElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "genkan.toml")
	mustWrite(t, file, `
[site."www.example.jp"]
listen = ":80"
to     = "10.0.0.10:80"
access = ["limit 5/1h", "allow all"]

[forward.ssh]
listen = ":22"
to     = "10.0.0.10:22"
access = ["limit 5/1h", "allow all"]

[forward.game]
listen = "udp/:27015"
to     = "10.0.0.10:27015"
access = ["limit 5/1h", "allow all"]
`)
	plan, err := Load(file, Options{Limits: acl.NewLimits(8 << 10)})
	if err != nil {
		t.Fatal(err)
	}
	// newcomers is how many of n clients, none of whose /32 has come before, are let in.
	first := uint32(0x20000000)
	newcomers := func(p *acl.Policy, n int) (allowed int) {
		for range n {
			var ip [16]byte
			binary.BigEndian.PutUint32(ip[:], first)
			first++
			v := p.Check(acl.Client{Addr: acl.AddrFrom(netip.AddrFrom16(ip))})
			if v.Allow {
				allowed++
			}
		}
		return allowed
	}
	access := map[string]*acl.Policy{}
	for _, f := range plan.Proxy.Forwards {
		access[f.Name] = f.Access
	}
	newcomers(access["game"], 16<<10)
	if n := newcomers(access["game"], 100); n == 100 {
		t.Error("the flood has not filled the counters, the test proves nothing")
	}
	if n := newcomers(access["ssh"], 100); n != 100 {
		t.Errorf("after a flood of UDP a forward over TCP lets in %d of 100", n)
	}
	if n := newcomers(plan.Proxy.Sites[0].Access, 100); n != 100 {
		t.Errorf("after a flood of UDP a site lets in %d of 100", n)
	}
}
