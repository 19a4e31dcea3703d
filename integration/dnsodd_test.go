package integration

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// oddQueries are messages that no resolver sends every day. An answer to one
// that is "silent" never comes, from BIND itself neither.
func oddQueries(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, build := range map[string]func(m *dns.Msg){
		"no-question": func(m *dns.Msg) { m.Question = nil },
		"cookie-alone": func(m *dns.Msg) {
			m.Question = nil
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		},
		"two-questions": func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"EDNS-1":        func(m *dns.Msg) { m.SetEdns0(4096, false); m.IsEdns0().SetVersion(1) },
		"EDNS-0-bytes":  func(m *dns.Msg) { m.SetEdns0(0, false) },
		"EDNS-511":      func(m *dns.Msg) { m.SetEdns0(511, false) },
		"two-OPTs":      func(m *dns.Msg) { m.SetEdns0(4096, false); m.Extra = append(m.Extra, m.Extra[0]) },
		"unknown-option": func(m *dns.Msg) {
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}}
		},
		"STATUS":     func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus },
		"IQUERY":     func(m *dns.Msg) { m.Opcode = dns.OpcodeIQuery },
		"opcode-14":  func(m *dns.Msg) { m.Opcode = 14 },
		"NOTIFY":     func(m *dns.Msg) { m.SetNotify("example.test.") },
		"UPDATE":     func(m *dns.Msg) { m.SetUpdate("example.test.") },
		"class-ANY":  func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY },
		"type-65280": func(m *dns.Msg) { m.Question[0].Qtype = 65280 },
		"elsewhere":  func(m *dns.Msg) { m.Question[0].Name = "www.elsewhere.example." },
		"flags": func(m *dns.Msg) {
			m.CheckingDisabled, m.AuthenticatedData, m.Zero, m.Truncated = true, true, true, true
		},
		"ecs-there": func(m *dns.Msg) {
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(198, 51, 100, 0)}}
		},
		"ecs-malformed": func(m *dns.Msg) {
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: []byte{0, 9, 200}}}
		},
	} {
		m := new(dns.Msg).SetQuestion("s512.example.test.", dns.TypeTXT)
		build(m)
		raw, err := m.Pack()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = raw
	}
	m := new(dns.Msg).SetQuestion("s512.example.test.", dns.TypeTXT)
	m.SetEdns0(4096, true)
	whole, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	all["cut-OPT"], all["cut-question"], all["header-alone"] = whole[:len(whole)-3], whole[:20], whole[:12]
	all["trailing-bytes"] = append(slices.Clone(whole), 0, 0, 0)
	return all
}

// What BIND answers to odd messages itself, clients of both families hear from
// it through the tunnel, over UDP and TCP: the same ID and RCODE.
func TestDNSOddMessages(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	servers.StartBind(t, w.Lab, "recursion no; allow-transfer { any; };")
	w.front(t, dnsConfig)
	inside := netip.AddrPortFrom(lab.BackendV4, 53)
	for name, raw := range oddQueries(t) {
		for _, network := range []string{"udp", "tcp"} {
			want := rcode(w.exchangeDNS(t, w.Front, network, lab.InsideV4, inside, raw))
			if want == "nothing" {
				t.Errorf("%s over %s: BIND itself is silent; the test proves nothing", name, network)
			}
			for _, client := range []netip.Addr{lab.Client6, lab.Client4} {
				n, to := w.Client6, netip.AddrPortFrom(lab.Front6, 53)
				if client.Is4() {
					n, to = w.Client4, netip.AddrPortFrom(lab.FrontV4, 53)
				}
				if got := rcode(w.exchangeDNS(t, n, network, client, to, raw)); got != want {
					t.Errorf("%s over %s from %s: %s, and BIND says %s", name, network, client, got, want)
				}
			}
		}
	}
}

// rcode says what came of a question.
func rcode(answers []*dns.Msg) string {
	if len(answers) == 0 {
		return "nothing"
	}
	m := answers[0]
	code := m.Rcode
	if opt := m.IsEdns0(); opt != nil {
		code = opt.ExtendedRcode() | code&0xf
	}
	return fmt.Sprintf("%d answer, id %d, rcode %d, opcode %d, %d records", len(answers), m.Id, code, m.Opcode, len(m.Answer))
}

// exchangeDNS sends messages, over TCP in one segment, and gives the answers.
func (w *world) exchangeDNS(t *testing.T, n *lab.Namespace, network string, from netip.Addr, to netip.AddrPort, queries ...[]byte) (answers []*dns.Msg) {
	t.Helper()
	var conn net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		if network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		conn, err = d.Dial(network, to.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience / 3)); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for i, raw := range queries {
		raw = slices.Clone(raw)
		raw[0], raw[1] = 0x47, byte(i) // the ID
		if network == "tcp" {
			all.Write([]byte{byte(len(raw) >> 8), byte(len(raw))})
		}
		all.Write(raw)
	}
	if _, err := all.WriteTo(conn); err != nil {
		t.Fatal(err)
	}
	c := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	for range queries {
		m, err := c.ReadMsg()
		if m == nil || err != nil && m.Id == 0 {
			break
		}
		answers = append(answers, m)
	}
	return answers
}

// Many queries come in one segment of TCP, and each is answered, in whatever
// order; with ecs as well, where each is read and written anew. A zone is
// transferred, which is many messages for one query.
func TestDNSPipelined(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	servers.StartBind(t, w.Lab, "recursion no; allow-transfer { any; };")
	w.front(t, dnsConfig+fmt.Sprintf(`
[forward.ecs]
listen   = ["tunnel:5302"]
to       = "%s:53"
protocol = "dns"
ecs      = true
`, lab.BackendV4))
	var queries [][]byte
	for i := range 50 {
		m := new(dns.Msg).SetQuestion(fmt.Sprintf("s%d.example.test.", servers.BindSizes()[i%5]), dns.TypeTXT)
		m.SetEdns0(4096, false)
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		queries = append(queries, raw)
	}
	for _, port := range []uint16{53, 5302} {
		answers := w.exchangeDNS(t, w.Client6, "tcp", lab.Client6, netip.AddrPortFrom(lab.Front6, port), queries...)
		seen := map[uint16]bool{}
		for _, m := range answers {
			want := fmt.Sprintf("s%d.example.test.", servers.BindSizes()[int(m.Id&0xff)%5])
			if seen[m.Id] || m.Rcode != 0 || len(m.Answer) != 1 || m.Question[0].Name != want {
				t.Errorf("port %d: answer %v, want one about %s", port, m, want)
			}
			seen[m.Id] = true
		}
		if len(seen) != len(queries) {
			t.Errorf("port %d: %d answers to %d queries", port, len(seen), len(queries))
		}
	}
	for _, c := range clients[:2] {
		text := w.dig(t, c.addr, "53", "example.test", "AXFR")
		if !bytes.Contains([]byte(text), []byte("; Transfer failed.")) && bytes.Contains([]byte(text), []byte("s60000.example.test.")) {
			continue
		}
		t.Errorf("%s: AXFR:\n%.500s", c.name, text)
	}
}
