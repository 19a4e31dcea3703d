package firewall_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"genkan/tunnel/firewall"
	"genkan/tunnel/tunneltest"
)

var (
	client = netip.MustParsePrefix("2001:db8::1/64")
	server = netip.MustParsePrefix("2001:db8::2/64")
)

// A host has a server on port 80 and a client beside it.
type host struct {
	client, server *tunneltest.NS
}

func mustHost(t *testing.T) *host {
	t.Helper()
	h := &host{tunneltest.NewNS(t), tunneltest.NewNS(t)}
	tunneltest.Veth(h.client, "up0", client, h.server, "tun6rd", server)
	var l net.Listener
	h.server.Must(func() (err error) {
		l, err = net.Listen("tcp6", "[::]:80")
		return err
	})
	t.Cleanup(func() { l.Close() })
	return h
}

// run runs a command in the server's namespace.
func (h *host) run(t *testing.T, command, input string) {
	t.Helper()
	words := strings.Fields(command)
	if _, err := exec.LookPath(words[0]); err != nil {
		tunneltest.Skip(t, "missing: the program "+words[0])
	}
	h.server.Must(func() error {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(input, "} }", "}\n}\n")) // nft(8) wants its lines
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
}

// reaches asks the kernel itself.
func (h *host) reaches(within time.Duration) bool {
	var err error
	h.client.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp6", netip.AddrPortFrom(server.Addr(), 80).String(), within); err == nil {
			c.Close()
		}
	})
	return err == nil
}

func (h *host) judge(t *testing.T, p firewall.Packet) firewall.Verdict {
	t.Helper()
	var v firewall.Verdict
	h.server.Must(func() error {
		rules, err := firewall.Read()
		if err == nil {
			v = rules.Judge(p)
		}
		return err
	})
	return v
}

func incoming() firewall.Packet {
	return firewall.Packet{Hook: firewall.Input, In: "tun6rd", Src: client.Addr(), Dst: server.Addr(), Proto: 6, SrcPort: 50000, DstPort: 80}
}

// What is foretold of a connection is what the kernel does with it.
func TestJudge(t *testing.T) {
	nft := func(rules string) [2]string {
		return [2]string{"nft -f -", "table inet f {\n" + rules + "\n}"}
	}
	input := func(rules string) [2]string {
		return nft("chain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; " + rules + "\n}")
	}
	for _, row := range []struct {
		name  string
		rules [2]string
		want  string // "" accepts
	}{
		{"empty", nft(""), ""},
		{"policy", input(""), "inet f input by policy"},
		{"port", input("tcp dport 80 accept"), ""},
		{"other-port", input("tcp dport 81 accept"), "inet f input by policy"},
		{"ports", input("tcp dport { 22, 80, 443 } accept"), ""},
		{"range", input("tcp dport 1-1023 accept"), ""},
		{"ranges", input("tcp dport { 1-79, 90-100 } accept"), "inet f input by policy"},
		{"ranges-with", input("tcp dport { 1-79, 80-100 } accept"), ""},
		{"not", input("tcp dport != 80 accept"), "inet f input by policy"},
		{"not-in", input("tcp dport != { 22, 23 } accept"), ""},
		{"interface", input("iifname \"tun6rd\" accept"), ""},
		{"other-interface", input("iifname \"eth0\" accept"), "inet f input by policy"},
		{"interface-prefix", input("iifname \"tun*\" accept"), ""},
		{"source", input("ip6 saddr 2001:db8::/64 accept"), ""},
		{"other-source", input("ip6 saddr 2001:db8:1::/64 accept"), "inet f input by policy"},
		{"ipv4-only", input("meta nfproto ipv4 accept"), "inet f input by policy"},
		{"state", input("ct state established,related accept"), "inet f input by policy"},
		{"state-new", input("ct state new tcp dport 80 accept"), ""},
		{"limited", input("tcp dport 80 limit rate 100/second accept"), ""},
		{"over-limit", input("tcp dport 80 limit rate over 100/second drop; tcp dport 80 accept"), ""},
		{"drop", nft("chain input { type filter hook input priority 0; tcp dport 80 drop; }"), "inet f input"},
		{"reject", nft("chain input { type filter hook input priority 0; tcp dport 80 reject; }"), "inet f input"},
		{"earlier", nft("chain a { type filter hook input priority -10; tcp dport 80 accept; }\nchain b { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }"), "inet f b by policy"},
		{"raw", nft("chain a { type filter hook prerouting priority raw; tcp dport 80 drop; }"), "inet f a"},
		{"jump", nft("chain web { tcp dport 80 accept; }\nchain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; jump web; }"), ""},
		{"return", nft("chain web { tcp dport 80 return; accept; }\nchain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; jump web; }"), "inet f input by policy"},
		{"goto", nft("chain web { tcp dport 81 accept; }\nchain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; goto web; accept; }"), "inet f input by policy"},
		{"verdict-map", input("tcp dport vmap { 22 : drop, 80 : accept }"), ""},
		{"verdict-map-drop", input("tcp dport vmap { 22 : accept, 80 : drop }; accept"), "inet f input"},
		{"named-set", nft("set open { type inet_service; elements = { 80, 443 }; }\nchain input { type filter hook input priority 0; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; tcp dport @open accept; }"), ""},
		{"concatenation", input("ip6 daddr . tcp dport { 2001:db8::2 . 80 } accept"), ""},
		{"mark", input("meta mark 1 accept"), "inet f input by policy"},
		{"ipv4-table", [2]string{"nft -f -", "table ip f { chain input { type filter hook input priority 0; policy drop; } }"}, ""},
		{"ip6tables-port", [2]string{"ip6tables-restore", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmpv6 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n"}, ""},
		{"ip6tables-policy", [2]string{"ip6tables-restore", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmpv6 -j ACCEPT\nCOMMIT\n"}, "ip6 filter INPUT by policy"},
		{"ip6tables-multiport", [2]string{"ip6tables-restore", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmpv6 -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 22,79:81,443 -j ACCEPT\nCOMMIT\n"}, ""},
		{"ip6tables-conntrack", [2]string{"ip6tables-restore", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p icmpv6 -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -m conntrack --ctstate NEW -p tcp --dport 80 -j ACCEPT\nCOMMIT\n"}, ""},
		{"ip6tables-chain", [2]string{"ip6tables-restore", "*filter\n:INPUT ACCEPT [0:0]\n:web - [0:0]\n-A INPUT -j web\n-A web -p tcp --dport 80 -j REJECT\nCOMMIT\n"}, "ip6 filter INPUT"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := mustHost(t)
			h.run(t, row.rules[0], row.rules[1])
			v := h.judge(t, incoming())
			if got := say(v); got != row.want {
				t.Errorf("judged %q, want %q", got, row.want)
			}
			within := 10 * time.Second
			if row.want != "" {
				within = 200 * time.Millisecond
			}
			if got := h.reaches(within); got != (row.want == "") {
				t.Errorf("the kernel lets it in: %v", got)
			}
		})
	}
}

func say(v firewall.Verdict) string {
	switch {
	case v.Result == firewall.Accepted:
		return ""
	case v.Result == firewall.Unsure:
		return "unsure: " + v.Chain
	case v.Policy:
		return v.Chain + " by policy"
	}
	return v.Chain
}

// Of other packets, and of what cannot be read, the kernel is not asked.
func TestJudgeOthers(t *testing.T) {
	tooBig := firewall.Packet{In: "tun6rd", Src: client.Addr(), Dst: server.Addr(), Proto: 58, Type: 2, State: firewall.Related}
	relay, own := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.5")
	reply := firewall.Packet{Hook: firewall.Output, Out: "tun6rd", Src: server.Addr(), Dst: client.Addr(), Proto: 6, SrcPort: 80, DstPort: 50000, State: firewall.Established}
	const icmp = "table ip6 f { chain input { type filter hook input priority 0; policy drop; icmpv6 type %s accept; } }"
	for _, row := range []struct {
		name, rules string
		packet      firewall.Packet
		want        string
	}{
		{"too-big", fmt.Sprintf(icmp, "packet-too-big"), tooBig, ""},
		{"echo-only", fmt.Sprintf(icmp, "echo-request"), tooBig, "ip6 f input by policy"},
		{"too-big-as-related", "table ip6 f { chain input { type filter hook input priority 0; policy drop; ct state related accept; } }", tooBig, ""},
		{"protocol-41", "table ip f { chain input { type filter hook input priority 0; ip protocol 41 drop; } }",
			firewall.Packet{In: "eth0", Src: relay, Dst: own, Proto: 41}, "ip f input"},
		{"protocol-41-out", "table ip f { chain output { type filter hook output priority 0; ip protocol ipv6 drop; } }",
			firewall.Packet{Hook: firewall.Output, Out: "eth0", Src: own, Dst: relay, Proto: 41}, "ip f output"},
		{"replies", "table ip6 f { chain output { type filter hook output priority 0; policy drop; ct state established accept; } }", reply, ""},
		{"no-replies", "table ip6 f { chain output { type filter hook output priority 0; policy drop; tcp dport 443 accept; } }", reply, "ip6 f output by policy"},
		{"our-own-table", "table ip6 genkan_tun6rd { chain input { type filter hook input priority 0; policy drop; } }", incoming(), ""},
		{"cannot-be-read", "table inet f { chain input { type filter hook input priority 0; policy drop; meta cpu 0 accept; } }", incoming(), "unsure: inet f input"},
		{"cannot-be-read-drop", "table inet f { chain input { type filter hook input priority 0; meta cpu 0 drop; } }", incoming(), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := mustHost(t)
			h.run(t, "nft -f -", row.rules)
			if got := say(h.judge(t, row.packet)); got != row.want {
				t.Errorf("judged %q, want %q", got, row.want)
			}
		})
	}
	if v := new(firewall.Rules).Judge(incoming()); v.Result != firewall.Accepted {
		t.Errorf("no rules: %+v", v)
	}
}
