package certstest

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// A DNS answers for all names: with the addresses that Set gave them, and
// that there is nothing else.
type DNS struct {
	Addr string // HOST:PORT, by UDP and TCP

	mu    sync.Mutex // guards addrs
	addrs map[string][]netip.Addr
}

// StartDNS serves on both sockets, which it closes at the end of the test.
func StartDNS(t testing.TB, udp net.PacketConn, tcp net.Listener) *DNS {
	t.Helper()
	d := &DNS{Addr: tcp.Addr().String(), addrs: map[string][]netip.Addr{}}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: d}, {Listener: tcp, Handler: d}} {
		up, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(up) }
		go func() { done <- s.ActivateAndServe() }()
		select {
		case <-up:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
	return d
}

// Set gives a name its addresses in place of what it had.
func (d *DNS) Set(name string, addrs ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs[dns.CanonicalName(name)] = addrs
}

// ServeDNS answers one question.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	r.Authoritative = true
	if len(q.Question) == 1 {
		ask := q.Question[0]
		d.mu.Lock()
		addrs, known := d.addrs[dns.CanonicalName(ask.Name)]
		d.mu.Unlock()
		head := dns.RR_Header{Name: ask.Name, Rrtype: ask.Qtype, Class: dns.ClassINET, Ttl: 1}
		for _, a := range addrs {
			switch {
			case ask.Qtype == dns.TypeAAAA && a.Is6():
				r.Answer = append(r.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
			case ask.Qtype == dns.TypeA && a.Is4():
				r.Answer = append(r.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
			}
		}
		if !known && !strings.HasPrefix(ask.Name, "_") && (ask.Qtype == dns.TypeA || ask.Qtype == dns.TypeAAAA) {
			r.Rcode = dns.RcodeNameError
		}
	}
	_ = w.WriteMsg(r) // the client may have gone
}
