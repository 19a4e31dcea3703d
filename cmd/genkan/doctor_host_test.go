package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/cmd/genkan/config"
	"genkan/proxy"
	"genkan/tunnel"
	"genkan/tunnel/firewall"
)

// What no test can provoke on a machine is judged by what the kernel would say.
func TestDoctorJudgesAddress(t *testing.T) {
	own := netip.MustParseAddr("2001:e41:cb00:7105::1")
	p := &patient{tunnel: &tunnelStatus{Status: tunnel.Status{Interface: "tun6rd", Address: own, Local: netip.MustParseAddr("203.0.113.5")}}}
	addr := func(ip netip.Addr, flags int) netlink.Addr {
		return netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(128, 128)}, Flags: flags}
	}
	other := addr(own.Next(), unix.IFA_F_DADFAILED)
	for _, row := range []struct {
		addrs []netlink.Addr
		want  diagnosis
	}{
		{[]netlink.Addr{other, addr(own, unix.IFA_F_PERMANENT)}, diagnosis{"address", "ok", "2001:e41:cb00:7105::1 is on tun6rd", "", ""}},
		{[]netlink.Addr{addr(own, unix.IFA_F_DADFAILED|unix.IFA_F_TENTATIVE)}, diagnosis{"address", "bad", "2001:e41:cb00:7105::1 on tun6rd is a duplicate (dadfailed): another host has it",
			"The kernel refuses to use it. Find the other host first: it has, or claims, the IPv4 address 203.0.113.5.",
			"ip -6 addr del 2001:e41:cb00:7105::1/128 dev tun6rd; ip -6 addr add 2001:e41:cb00:7105::1/128 dev tun6rd nodad"}},
		{[]netlink.Addr{addr(own, unix.IFA_F_TENTATIVE)}, diagnosis{"address", "warn", "2001:e41:cb00:7105::1 on tun6rd is still tentative: the kernel asks whether another host has it",
			"Until that is over, nothing uses it.",
			"wait two seconds and ask again; if it stays, ip -6 addr del 2001:e41:cb00:7105::1/128 dev tun6rd; ip -6 addr add 2001:e41:cb00:7105::1/128 dev tun6rd nodad"}},
		{[]netlink.Addr{other}, diagnosis{"address", "bad", "2001:e41:cb00:7105::1 is not on tun6rd", "Nothing that is sent to us arrives.", "ip -6 addr add 2001:e41:cb00:7105::1/128 dev tun6rd"}},
	} {
		if got := p.addressAmong(row.addrs); got != row.want {
			t.Errorf("%v:\n got %+v\nwant %+v", row.addrs, got, row.want)
		}
	}
}

func TestDoctorJudgesClock(t *testing.T) {
	for _, row := range []struct {
		timex unix.Timex
		err   error
		want  string
	}{
		{unix.Timex{}, nil, "ok"},
		{unix.Timex{Status: unix.STA_UNSYNC}, nil, "warn"},
		{unix.Timex{}, unix.EPERM, "warn"},
	} {
		if got := clock(row.timex, row.err); got.Severity != row.want {
			t.Errorf("%+v, want %s", got, row.want)
		}
	}
}

// Who may not ask Genkan is not told that another program has its ports.
func TestDoctorMayNotAsk(t *testing.T) {
	p := &patient{hidden: errors.New("/run/genkan/genkan.sock: permission denied; ask as root")}
	want := diagnosis{"ports", "warn", "whether Genkan runs cannot be seen: /run/genkan/genkan.sock: permission denied; ask as root",
		"What it has open, and how it is, is not looked at.", "sudo genkan doctor"}
	if got := checkListeners(t.Context(), p); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Nor that no tunnel stands, who may not ask the process that keeps it.
func TestDoctorMayNotAskKeeper(t *testing.T) {
	p := &patient{veiled: errors.New("/run/genkan/tun6rd.sock: permission denied; ask as root")}
	want := diagnosis{"address", "warn", "whether a tunnel stands cannot be seen: /run/genkan/tun6rd.sock: permission denied; ask as root",
		"What depends on it cannot be looked at.", "sudo genkan doctor"}
	if got := checkAddress(t.Context(), p); len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDoctorOfKeeper: a tunnel by itself, kept by "genkan tunnel up", is no Genkan that somebody forgot to start.
func TestDoctorOfKeeper(t *testing.T) {
	p := &patient{plan: &config.Plan{}, tunnel: &tunnelStatus{Status: tunnel.Status{Interface: "tun6rd", Address: somewhere}}}
	want := diagnosis{"ports", "ok", "the configuration has none to listen on", "", ""}
	if got := checkListeners(t.Context(), p); len(got) != 1 || got[0] != want {
		t.Errorf("without listeners: %+v, want %+v", got, want)
	}
	plan, err := config.QuickTunnel{Prefix: "2001:e41::/32", Relays: []string{"192.0.2.1"}}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	plan.Proxy.Sites = []proxy.Site{{Name: "www.example.test", Listen: []proxy.Listen{{Network: "tcp", Tunnel: true, Port: 80}}}}
	p.plan = plan
	want = diagnosis{"ports", "warn", "Genkan does not run; no other program has its ports", "Nobody serves.", "genkan tunnel down --interface tun6rd && systemctl start genkan"}
	if got := checkListeners(t.Context(), p); len(got) != 1 || got[0] != want {
		t.Errorf("with a listener: %+v, want %+v", got, want)
	}
}

// What opens a port to clients of the tunnel opens that of IPv4, perhaps this host's own sshd, to nobody.
func TestDoctorOpensTheTunnelAlone(t *testing.T) {
	plan, err := config.QuickTunnel{Prefix: "2001:e41::/32", Relays: []string{"192.0.2.1"}}.Plan()
	if err != nil {
		t.Fatal(err)
	}
	plan.Proxy.Sites = []proxy.Site{{Name: "www.example.test", Listen: []proxy.Listen{{Network: "tcp", Tunnel: true, Port: 22}}}}
	p := &patient{plan: plan, tunnel: &tunnelStatus{Status: tunnel.Status{Interface: "tun6rd", Address: somewhere}}}
	ways := p.passages()
	at := slices.IndexFunc(ways, func(w passage) bool { return w.packet.DstPort == 22 })
	if at < 0 {
		t.Fatalf("no way for port 22 in %+v", ways)
	}
	for chain, want := range map[string]string{
		"inet filter input": "nft insert rule inet filter input iifname tun6rd tcp dport 22 accept",
		"ip6 filter INPUT":  "ip6tables -I INPUT -i tun6rd -p tcp --dport 22 -j ACCEPT",
	} {
		if got := ways[at].blocked(firewall.Verdict{Chain: chain, Policy: true}).Fix; !ufwOn() && got != want {
			t.Errorf("%s: fix %q, want %q", chain, got, want)
		}
	}
	if want := "ufw allow in on tun6rd to any port 22 proto tcp"; ways[at].ufw != want {
		t.Errorf("ufw: %q, want %q", ways[at].ufw, want)
	}
}
