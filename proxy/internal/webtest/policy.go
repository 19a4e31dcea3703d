package webtest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/http1"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
	"genkan/proxy/web"
)

// A Policy is the least a proxy does: one backend, and its own word on who
// the client is.
type Policy struct {
	To http1.Target

	mu      sync.Mutex
	results []exchange.Result
}

// Decide implements exchange.Policy.
func (p *Policy) Decide(r *message.Request) exchange.Decision {
	r.Header.DelFunc(web.Claims)
	r.Header.Add("X-Forwarded-For", r.Source.Client.Addr.String())
	r.Header.Add("X-Real-IP", r.Source.Client.Addr.String())
	return exchange.Decision{To: p.To}
}

// Done implements exchange.Policy.
func (p *Policy) Done(_ *message.Request, _ exchange.Decision, res exchange.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = append(p.results, res)
}

// Results is what Done was told.
func (p *Policy) Results() []exchange.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]exchange.Result(nil), p.results...)
}

// A Front is a proxy between a listener and one backend.
type Front struct {
	Addr      string
	Policy    *Policy
	Transport *http1.Transport
	Sweeper   *sweep.Sweeper
}

// A Serve serves one connection until it ends.
type Serve func(c net.Conn, from message.Source, h message.Handler)

// StartFront accepts connections for serve until the test ends; cut ends
// those that are open then. edit may change the transport's settings.
func StartFront(t testing.TB, backend string, s *sweep.Sweeper, serve Serve, cut func(), edit func(*http1.TransportConfig)) *Front {
	t.Helper()
	dialer := net.Dialer{}
	tc := http1.TransportConfig{
		Sweeper: s,
		Dial: func(ctx context.Context, to http1.Target) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", to.Addr.String())
		},
	}
	if edit != nil {
		edit(&tc)
	}
	ln := MustListen(t)
	f := &Front{
		Addr: ln.Addr().String(), Sweeper: s, Transport: http1.NewTransport(tc),
		Policy: &Policy{To: http1.Target{Addr: netip.MustParseAddrPort(backend)}},
	}
	h := &exchange.Handler{Policy: f.Policy, Transport: f.Transport}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c, sourceOf(c), h) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		cut()
		f.Transport.CloseIdle()
		cancel()
		wg.Wait()
	})
	return f
}

func sourceOf(c net.Conn) message.Source {
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return message.Source{
		Client:     acl.Client{Addr: acl.AddrFrom(peer.Addr())},
		ClientPort: peer.Port(),
		Local:      c.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
}
