package proxy

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"genkan/acl"
)

// An IPv6 client's query offers what no path of IPv6 fragments, an IPv4
// client's is left alone. A server that answers with more all the same is
// cut to TC=1, by which the client learns to come over TCP.
func TestDNSAnswersFitThePath(t *testing.T) {
	to := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, datagram []byte) {
		q, m := new(miekg.Msg), new(miekg.Msg)
		if err := q.Unpack(datagram); err != nil {
			t.Error(err)
			return
		}
		m.SetReply(q)
		m.SetEdns0(q.IsEdns0().UDPSize(), false) // what the server was offered
		size := map[string]int{"small.": 1, "large.": 15, "huge.": 200}[q.Question[0].Name]
		for range size {
			m.Answer = append(m.Answer, &miekg.TXT{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeTXT, Class: miekg.ClassINET}, Txt: []string{strings.Repeat("x", 100)}})
		}
		raw, err := m.Pack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.WriteTo(raw, from)
	})
	s := start(t, Config{Forwards: []Forward{{
		Name: "dns", Listen: append(mustListen(t, "udp/[::1]:0"), mustListen(t, "udp/127.0.0.1:0")...), To: mustBackend(t, to), Access: acl.AllowAll(), Protocol: "dns",
	}}})
	for _, row := range []struct {
		at, name string
		offered  uint16
		cut      bool
	}{
		{"::1", "small.", 1232, false},
		{"::1", "large.", 1232, true},
		{"::1", "huge.", 1232, true},
		{"127.0.0.1", "small.", 4096, false},
		{"127.0.0.1", "large.", 4096, false},
		{"127.0.0.1", "huge.", 4096, true},
	} {
		t.Run(row.at+"-"+row.name, func(t *testing.T) {
			q, m := new(miekg.Msg), new(miekg.Msg)
			q.SetQuestion(row.name, miekg.TypeTXT)
			q.SetEdns0(4096, false)
			raw, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Unpack([]byte(askUDP(t, dialUDP(t, s.at(t, row.at)), string(raw)))); err != nil {
				t.Fatal(err)
			}
			if m.Id != q.Id || m.Truncated != row.cut || (len(m.Answer) == 0) != row.cut || m.IsEdns0().UDPSize() != row.offered {
				t.Errorf("answer %v, want TC: %v, offered %d", m, row.cut, row.offered)
			}
		})
	}
}

// Each query is judged, not only the first of a session: a client that asks
// too much over one port is not answered, another one is. A client that has
// its one session goes on asking.
func TestDNSQueriesAreJudged(t *testing.T) {
	to := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, datagram []byte) {
		q, m := new(miekg.Msg), new(miekg.Msg)
		if err := q.Unpack(datagram); err != nil {
			t.Error(err)
			return
		}
		raw, err := m.SetReply(q).Pack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.WriteTo(raw, from)
	})
	for _, row := range []struct {
		name string
		rule string
		want int // answers of five
	}{
		{"limit", "limit 3/10m", 3},
		{"conns", "conns 1", 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t, Config{Forwards: []Forward{{
				Name: "dns", Listen: append(mustListen(t, "udp/[::1]:0"), mustListen(t, "udp/127.0.0.1:0")...), To: mustBackend(t, to),
				Access: mustRules(t, row.rule, "allow all"), Protocol: "dns",
			}}})
			for _, at := range []string{"::1", "127.0.0.1"} {
				conn := dialUDP(t, s.at(t, at))
				for i := range 5 {
					q := new(miekg.Msg).SetQuestion("x.", miekg.TypeA)
					q.Id = uint16(i)
					raw, err := q.Pack()
					if err != nil {
						t.Fatal(err)
					}
					if i < row.want {
						if m := new(miekg.Msg); m.Unpack([]byte(askUDP(t, conn, string(raw)))) != nil || m.Id != q.Id {
							t.Fatalf("%s: answer %v to query %d", at, m, i)
						}
						continue
					}
					if _, err := conn.Write(raw); err != nil {
						t.Fatal(err)
					}
					s.log.waitFor(t, "msg=denied", "forward=dns", "client="+at)
				}
				conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if n, err := conn.Read(make([]byte, 512)); err == nil {
					t.Errorf("%s: one more answer of %d bytes", at, n)
				}
			}
		})
	}
}

// Answers that a client sends do not reach the server, nor do they open a session;
// those between queries are passed over.
func TestDNSAnswersAreNoQueries(t *testing.T) {
	heard := make(chan string, 8)
	to := startUDPBackend(t, func(conn net.PacketConn, from net.Addr, datagram []byte) {
		heard <- string(datagram[:2])
		datagram[2] |= 0x80
		conn.WriteTo(datagram, from)
	})
	s := start(t, Config{Forwards: []Forward{{
		Name: "dns", Listen: mustListen(t, "udp/[::1]:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Protocol: "dns",
	}}})
	query, err := new(miekg.Msg).SetQuestion("x.", miekg.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	answer := slices.Clone(query)
	answer[2] |= 0x80
	conn := dialUDP(t, s.at(t, "::1"))
	strange := []string{string(answer), string(answer[:12])}
	send := func(all []string) {
		t.Helper()
		for _, text := range all {
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(strange)
	s.log.waitFor(t, "msg=denied", "forward=dns", "client=::1", "an answer, where clients ask")
	if n := len(s.conns.list()); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
	askUDP(t, conn, string(query))
	send(strange)
	askUDP(t, conn, string(query))
	for range 2 {
		if got := <-heard; got != string(query[:2]) {
			t.Errorf("the server heard %q", got)
		}
	}
	if n := len(heard); n > 0 {
		t.Errorf("the server heard %d more", n)
	}
}
