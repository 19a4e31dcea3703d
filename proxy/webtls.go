package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"genkan/acl"
	"genkan/proxy/certs"
	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

var errChallenge = errors.New("a CA has seen its challenge answered")

// httpsPort is the port that speaks TLS without being told so.
const httpsPort = 443

// addTLS makes the endpoints that speak TLS do so: those of port 443 and
// those whose listener says so, where a site has a certificate.
func (st *state) addTLS(s *Server, errs *faults) {
	for e, svc := range maps.Clone(st.services) {
		if e.network != "tcp" || svc.sites.Empty() {
			continue
		}
		if svc.hasCert && (e.addr.Port() == httpsPort || svc.tls) {
			find := finder{svc, s.certs}
			svc.tlsConfig = askForCertificates(certs.Config(find, "h2", "http/1.1"), find.clientCA)
			st.addHTTP3(e, svc)
		} else if svc.tls {
			errs.add(fmt.Sprintf("listener %q", svc.listen), errors.New("tls = true, but no site there has a certificate; write cert and key, or tls = \"auto\""))
		}
	}
}

// addHTTP3 opens UDP on the port of sites that speak TLS, unless a forward
// has it, or no site wants it.
func (st *state) addHTTP3(e endpoint, svc *service) {
	e.network = "udp"
	if svc.quic && st.services[e] == nil && e.addr.Port() != 0 {
		st.services[e] = &service{listen: svc.listen, offset: svc.offset, sites: svc.sites, http3: true}
		svc.altSvc = fmt.Sprintf("h3=\":%d\"; ma=86400", e.addr.Port())
	}
}

// A finder is what clients of a service's sites are shown.
type finder struct {
	svc   *service
	certs *certs.Manager
}

// Certificate finds the certificate for the name that a client asks for. No
// name goes to the default site, and there to the address.
func (f finder) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, err := serverName(hello.ServerName)
	if err != nil {
		return nil, err
	}
	one, ok := f.svc.sites.Find(name)
	switch {
	case ok && one.cert.exists():
		return one.cert.get(hello, name)
	case name == "" && !ok && f.svc.hasAuto: // an address is all that the client knows
		return f.certs.Get(hello, "", localOf(hello))
	}
	return nil, fmt.Errorf("no certificate for %q", name)
}

// Profile gives the parameters of the site.
func (f finder) Profile(hello *tls.ClientHelloInfo) certs.Profile {
	name, err := serverName(hello.ServerName)
	if err != nil {
		return certs.Intermediate
	}
	if one, ok := f.svc.sites.Find(name); ok {
		return one.TLSProfile
	}
	return certs.Intermediate
}

// Challenge answers a CA.
func (f finder) Challenge(name string) (*tls.Certificate, bool) { return f.certs.Challenge(name) }

// serverName gives SNI as routes compare names; "" where there is none.
func serverName(sni string) (string, error) {
	if _, err := acl.ParseAddr(sni); sni == "" || err == nil {
		return "", nil // an address is no name (RFC 6066 §3), and who sends one has asked for none
	}
	authority, err := message.ParseAuthority(sni)
	return authority.Host, err
}

// handshake makes a's connection, which is in swap, a TLS one. from is
// completed.
func (w *webEngine) handshake(a *arrival, swap *fiber.Swap, from *message.Source) (*tls.Conn, error) {
	conn := tls.Server(swap, a.svc.tlsConfig)
	ctx, cancel := context.WithTimeout(context.Background(), a.state.timeouts.Handshake)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			w.server.bites.bite(message.LimitHeadTime)
		}
		return nil, err
	}
	return conn, greeted(conn, from)
}

// greeted completes from by what a handshake has brought.
func greeted(conn *tls.Conn, from *message.Source) error {
	cs := conn.ConnectionState()
	if certs.IsChallenge(cs) {
		return errChallenge
	}
	from.TLS = true
	from.ServerName, _ = serverName(cs.ServerName)
	from.Proof = cs.VerifiedChains
	return nil
}

// shakeOnLoop makes conn a TLS connection on its loop, and serves it: where a
// handshake waits for nobody but the client, and takes a part of a millisecond,
// a goroutine and its way through the runtime's poller cost more than they spare
// the others.
func (w *webEngine) shakeOnLoop(a *arrival, one *stream, conn *fiber.Conn, ended func()) {
	guard := w.sweeper.Guard(conn, nil)
	guard.Read(a.state.timeouts.Handshake)
	guard.Write(a.state.timeouts.Handshake)
	one.cutWith(guard.Strike)
	fail := func(err error) {
		guard.Release()
		w.server.log.Debug("no TLS", "client", a.addr(), "cause", err)
		conn.Close()
		ended()
	}
	shake := func() {
		swap, from := &fiber.Swap{Conn: conn}, a.source()
		session := tls.Server(swap, a.svc.tlsConfig)
		err := session.Handshake()
		if err == nil {
			err = greeted(session, &from)
		}
		if err != nil {
			if guard.ReadStruck() && time.Since(a.began) >= a.state.timeouts.Handshake {
				w.server.bites.bite(message.LimitHeadTime)
			}
			fail(err)
			return
		}
		guard.Release()
		w.serveSession(a, one, session, swap, conn, from, ended)
	}
	if loop := conn.Loop(); !loop.Post(func() { loop.Go(shake) }) {
		fail(net.ErrClosed)
	}
}
