package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/certs"
	"genkan/proxy/http3"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// A quicDoor is a UDP listener whose sites are served over HTTP/3.
type quicDoor struct {
	door  *door
	front *http3.Server
}

// serveQUIC serves d until it is closed.
func (w *webEngine) serveQUIC(d *door) {
	t, l := w.server.state.Load().timeouts, w.server.state.Load().config.Limits
	q := &quicDoor{door: d}
	q.front = http3.NewServer(http3.Config{
		Accept: func(client, local netip.AddrPort, cs *tls.ConnectionState) (message.Source, message.Handler, bool) {
			return w.acceptQUIC(d, client, local, cs)
		},
		Enter: func(client netip.AddrPort, cut func()) (func(), bool) { return w.enterQUIC(d, client, cut) },
		Idle:  t.KeepIdle, FirstRequest: 2 * t.Header, Handshake: t.Handshake, Lifetime: t.Lifetime,
		BodyIdle: t.Body, BodyGrace: t.BodyGrace, WriteTimeout: t.Write,
		MaxHead: l.HeaderBytes, MaxLine: l.LineBytes, MaxFields: l.HeaderFields, BodyRate: int64(l.BodyRate),
		MaxStreams: int64(l.Streams), MaxUnproven: l.Handshakes, MaxAborts: l.Aborts,
		Relay: w.relay, Bite: w.server.bites.bite, Pressure: w.pressure,
	})
	find := doorFinder{w.server, d.endpoint}
	config := askForCertificates(certs.Config(find), func(hello *tls.ClientHelloInfo) *clientCA { return find.now().clientCA(hello) })
	w.mu.Lock()
	if w.ending { // the stop came before this door was known to drainQUIC
		w.mu.Unlock()
		d.close()
		return
	}
	w.quic[q] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.quic, q)
	}()
	if err := q.front.Serve(d.quic, config); err != nil {
		w.server.log.Error("listener not served", "listener", d.endpoint.String(), "cause", err)
	}
}

// shareQUIC makes d's socket one that processes can share. s.mu is held.
func (s *Server) shareQUIC(d *door) {
	var older *http3.Older
	for _, p := range s.parcelsOf(d.endpoint) {
		if p.QUIC == nil {
			p.File.Close() // a session of a forward that was here
			continue
		}
		older = &http3.Older{Tags: p.QUIC.Tags, Pipe: p.File}
	}
	d.quic = http3.NewSocket(d.udp, older, s.tunnelIndex(d))
}

// A doorFinder is the finder of an endpoint as it is now: QUIC listeners keep
// their configuration over a reload.
type doorFinder struct {
	server *Server
	endpoint
}

func (f doorFinder) now() finder {
	svc := f.server.state.Load().services[f.endpoint]
	if svc == nil {
		svc = &service{} // closing
	}
	return finder{svc, f.server.certs}
}

// Certificate is the endpoint's. A site that is not served over HTTP/3 has none
// here, though its neighbours are: clients that have heard of it before come by
// TCP then.
func (f doorFinder) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	now := f.now()
	if name, err := serverName(hello.ServerName); err == nil {
		if one, ok := now.svc.sites.Find(name); ok && one.NoHTTP3 {
			return nil, fmt.Errorf("%q is not served over HTTP/3", name)
		}
	}
	return now.Certificate(hello)
}

// Profile is Intermediate: there is no old QUIC.
func (f doorFinder) Profile(*tls.ClientHelloInfo) certs.Profile { return certs.Intermediate }

// Challenge answers no CA: they ask over TCP.
func (f doorFinder) Challenge(string) (*tls.Certificate, bool) { return nil, false }

// acceptQUIC tells who a client is now, by the addresses of its connection.
func (w *webEngine) acceptQUIC(d *door, client, local netip.AddrPort, cs *tls.ConnectionState) (message.Source, message.Handler, bool) {
	s := w.server
	a := &arrival{server: s, state: s.state.Load(), door: d, at: d.endpoint, began: time.Now()}
	if a.svc = a.state.services[d.endpoint]; a.svc == nil {
		return message.Source{}, nil, false
	}
	a.peer = netip.AddrPortFrom(client.Addr().WithZone(""), client.Port())
	a.client, a.local = a.peer, netip.AddrPortFrom(local.Addr().WithZone(""), local.Port())
	from := message.Source{
		Client: acl.Client{Addr: a.addr(), Tunnel: http3.ViaTunnel(client)}, ClientPort: client.Port(), Local: a.local, TLS: true,
	}
	from.ServerName, _ = serverName(cs.ServerName)
	from.Proof = cs.VerifiedChains
	return from, w.handler(a, nil), true
}

// enterQUIC gives a connection over HTTP/3 its place among all others.
func (w *webEngine) enterQUIC(d *door, client netip.AddrPort, cut func()) (leave func(), ok bool) {
	s := w.server
	svc := s.state.Load().services[d.endpoint]
	if svc == nil || w.pressure.Level() >= pressure.TakeNoOne {
		return nil, false
	}
	if s.gate.shut.Load() {
		s.bites.bite(message.LimitConns)
		return nil, false
	}
	addr := acl.AddrFrom(client.Addr().WithZone(""))
	out, ok := w.admit(svc, addr)
	if !ok {
		return nil, false
	}
	s.stats.accepted[family(addr)].Add(1)
	s.gate.enter()
	one := &stream{client: addr, network: "quic"}
	one.cutWith(cut)
	w.overQUIC.add(one)
	return func() {
		w.overQUIC.remove(one)
		out()
		s.gate.leave()
	}, true
}

// tunnelIndex tells whether an interface is the tunnel's, for the packets of
// d. It is asked for each, so it looks again once a second only. Nil: there is
// no tunnel for them to come by.
func (s *Server) tunnelIndex(d *door) func(index int) bool {
	name := s.state.Load().config.TunnelInterface
	raw, err := d.udp.SyscallConn()
	if name == "" || err != nil || !d.endpoint.addr.Addr().Is6() {
		return nil
	}
	tunnel, looked := 0, time.Time{}
	return func(index int) bool {
		if now := time.Now(); now.Sub(looked) > time.Second {
			looked, tunnel = now, 0
			raw.Control(func(fd uintptr) { tunnel, _ = interfaceIndex(int(fd), name) })
		}
		return index != 0 && index == tunnel
	}
}

// doors gives the QUIC listeners.
func (w *webEngine) doors() []*quicDoor {
	w.mu.Lock()
	defer w.mu.Unlock()
	var qs []*quicDoor
	for q := range w.quic {
		qs = append(qs, q)
	}
	return qs
}

// drainQUIC lets requests over HTTP/3 finish until ctx ends.
// Those whose handshake is under way are let in within grace.
func (w *webEngine) drainQUIC(ctx context.Context, grace time.Duration) {
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	var all sync.WaitGroup
	for _, q := range w.doors() {
		all.Go(func() {
			q.front.Drain(ctx, grace)
			q.front.Close()
			q.door.close()
		})
	}
	all.Wait()
}
