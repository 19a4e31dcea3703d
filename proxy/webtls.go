package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"

	"genkan/proxy/certs"
	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

// httpsPort is the port that speaks TLS without being told so.
const httpsPort = 443

// loadCert reads the certificate of a site that names one.
func (one *site) loadCert() (err error) {
	switch {
	case one.Cert == "" && one.Key == "":
		return nil
	case one.Cert == "" || one.Key == "":
		return errors.New("cert and key belong together; write both")
	}
	one.cert, err = certs.Load(one.Cert, one.Key)
	return err
}

// addTLS makes the endpoints that speak TLS do so: those of port 443 and
// those whose listener says so, where a site has a certificate.
func (st *state) addTLS(errs *faults) {
	for e, svc := range maps.Clone(st.services) {
		if e.network != "tcp" || svc.sites.Empty() {
			continue
		}
		if svc.hasCert && (e.addr.Port() == httpsPort || svc.tls) {
			svc.tlsConfig = certs.Config(svc.certificate, "h2", "http/1.1")
			st.addHTTP3(e, svc)
		} else if svc.tls {
			errs.add(fmt.Sprintf("listener %q", svc.listen), errors.New("tls = true, but no site there has a certificate; write cert and key"))
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

// certificate finds the certificate for the name that a client asks for. No
// name goes to the default site.
func (svc *service) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, err := serverName(hello.ServerName)
	if err != nil {
		return nil, err
	}
	if one, ok := svc.sites.Find(name); ok && one.cert != nil {
		return one.cert, nil
	}
	return nil, fmt.Errorf("no certificate for %q", name)
}

// serverName gives SNI as routes compare names; "" where there is none.
func serverName(sni string) (string, error) {
	if sni == "" {
		return "", nil
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
	cs := conn.ConnectionState()
	from.TLS = true
	from.ServerName, _ = serverName(cs.ServerName)
	return conn, nil
}
