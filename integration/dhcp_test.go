package integration

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/tunnel"
	"genkan/tunnel/dhcp"
)

// startDHCP is the provider's DHCP server, dnsmasq, which gives the front its address and option 212.
func startDHCP(t *testing.T, w *world, p dhcp.Parameters) *lab.Process {
	t.Helper()
	program := require.Program(t, "dnsmasq", "dnsmasq-base")
	var octets []string
	for _, b := range p.Bytes() {
		octets = append(octets, hex.EncodeToString([]byte{b}))
	}
	at := lab.FrontV4.String()
	s, err := w.ISP.Run(program, "-k", "--conf-file=/dev/null", "--port=0", "--interface=front0", "--bind-interfaces",
		"--leasefile-ro", "--no-ping", "--dhcp-authoritative", "--log-dhcp", "--log-facility=-", "--pid-file=", "--user=root",
		"--dhcp-range="+at+","+at+",255.255.255.0,1h", "--dhcp-option=3,203.0.113.1", "--dhcp-option=212,"+strings.Join(octets, ":"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	if err := s.WaitFor("sockets bound exclusively to interface", patience); err != nil {
		t.Fatal(err)
	}
	return s
}

// lease runs Debian's dhclient once on the front. It configures nothing: the front has its address.
func (w *world) lease(t *testing.T) {
	t.Helper()
	program := require.Program(t, "dhclient", "isc-dhcp-client")
	config := filepath.Join(w.Dir, "dhclient.conf")
	mustWrite(t, config, "request subnet-mask, broadcast-address, routers, option-6rd;\n")
	cmd, err := w.Private(w.Front, "/bin/sh", "-c",
		`mkdir -p /var/lib/dhcp && dhclient -4 -1 -v -cf "$1" -lf /var/lib/dhcp/dhclient.eth0.leases -pf /run/dhclient.pid -sf /bin/true eth0 && kill $(cat /run/dhclient.pid)`, program, config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if !strings.Contains(p.Output(), "bound to "+lab.FrontV4.String()) {
		t.Fatalf("dhclient: %v\n%s", p.Err(), p.Output())
	}
}

// tunnelStatus asks the front's Genkan for its tunnel.
func (w *world) tunnelStatus(t *testing.T) (s tunnel.Status) {
	t.Helper()
	cmd, err := w.Private(w.Front, w.program, "tunnel", "status", "--json")
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := json.Unmarshal([]byte(p.Output()), &s); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	return s
}

// dhcpConfig is loadConfig with a tunnel by DHCP.
func dhcpConfig(more string) string {
	return "[tunnel]\ndhcp = true\n" + more + strings.TrimPrefix(loadConfig(0), tunnelConfig)
}

var deadRelay = netip.MustParseAddr("198.51.100.9")

// TestDHCPAsked: a host without any lease on file asks the server itself. The relay that does not answer is not used;
// rules on 6rd addresses know the domain.
func TestDHCPAsked(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	startDHCP(t, w, dhcp.Parameters{Prefix: lab.SixRD, Relays: []netip.Addr{deadRelay, lab.RelayV4}})
	if got := w.ask(t, "tunnel", "up", "--dhcp", "--dry-run"); !strings.Contains(got, "ip -6 addr add "+lab.Front6.String()+"/128 dev tun6rd nodad\n") {
		t.Errorf("tunnel up --dhcp --dry-run: %s", got)
	}
	if got := w.ask(t, "init", "-"); !strings.Contains(got, "[tunnel]\ndhcp = true # found: 2001:e41::/32, relays [198.51.100.9 198.51.100.1]") {
		t.Errorf("init: %s", got)
	}
	w.front(t, dhcpConfig("")+"[forward.ssh]\nlisten = \"tunnel:22\"\nto = \"10.0.0.10:22\"\naccess = [\"deny 6rd:198.18.0.0/15\", \"allow all\"]\n")
	client := w.httpClient(lab.Client6.String(), false)
	if err := ask(t.Context(), client, "http://["+lab.Front6.String()+"]/"); err != nil {
		t.Error(err)
	}
	s := w.tunnelStatus(t)
	if s.Address != lab.Front6 || s.LeaseFrom != "the DHCP server 203.0.113.1" || s.Relay != lab.RelayV4 || !slices.Equal(s.Relays, []netip.Addr{deadRelay, lab.RelayV4}) {
		t.Errorf("status %+v", s)
	}
	if got := w.ask(t, "tunnel", "status"); !strings.Contains(got, "domain     2001:e41::/32, by DHCP: the DHCP server 203.0.113.1\nrelay      198.51.100.9\nrelay      198.51.100.1, in use\n") {
		t.Errorf("tunnel status: %s", got)
	}
	// 198.18.0.1's address in the domain.
	if got := w.ask(t, "explain", "-c", w.ConfigFile(w.Front), "ssh", "2001:e41:c612:1::1"); !strings.Contains(got, "2001:e41:c612:1::1: deny") {
		t.Errorf("explain: %s", got)
	}
}

// TestDHCPLeaseFollowed: what dhclient has written is used without a word to the server, and when the provider gives
// another domain with the next lease, the tunnel follows.
func TestDHCPLeaseFollowed(t *testing.T) {
	w := mustWorld(t)
	one := dhcp.Parameters{Prefix: lab.SixRD, Relays: []netip.Addr{lab.RelayV4}}
	server := startDHCP(t, w, one)
	w.lease(t)
	if err := server.Stop(patience); err != nil {
		t.Fatal(err)
	}
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	p := w.front(t, dhcpConfig(""))
	client := w.httpClient(lab.Client6.String(), false)
	if err := ask(t.Context(), client, "http://["+lab.Front6.String()+"]/"); err != nil {
		t.Error(err)
	}
	if s := w.tunnelStatus(t); s.Address != lab.Front6 || s.LeaseFrom != "/var/lib/dhcp/dhclient.eth0.leases" {
		t.Errorf("status %+v", s)
	}

	// The whole address no longer fits behind the prefix: its first octet is left out.
	two := dhcp.Parameters{Prefix: netip.MustParsePrefix("2001:db8:4100::/40"), IPv4MaskLen: 8, Relays: []netip.Addr{lab.RelayV4, deadRelay}}
	startDHCP(t, w, two)
	w.lease(t)
	want := netip.MustParseAddr("2001:db8:4100:7105::1")
	waitUntil(t, patience, "the new domain", func() error {
		if s := w.tunnelStatus(t); s.Address != want {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	waitUntil(t, patience, "listeners", func() error {
		return reach(w.Front, "["+want.String()+"]:80", patience)
	})
	if snapshot := strings.Join(mustSnapshot(t, w.Front), "\n"); strings.Contains(snapshot, "2001:e41:") {
		t.Errorf("of the domain before stands:\n%s", snapshot)
	}

	// A reload changes what the file says of the tunnel; what DHCP gives stays.
	mustWrite(t, w.ConfigFile(w.Front), dhcpConfig("mtu = 1400\n"))
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, patience, "the reload", func() error {
		if s := w.tunnelStatus(t); s.MTU != 1400 || s.Address != want {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}
