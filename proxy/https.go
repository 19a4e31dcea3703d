package proxy

import (
	"net/http"
	"net/netip"
	"strings"

	"genkan/proxy/certs"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// httpPort is where CAs ask, and where clients come who know no better.
const httpPort = 80

// answerCA answers a CA that asks whether a name is ours, before any rule: CAs
// ask from anywhere and say nowhere from where. It tells nobody anything else:
// the path has to hold a token that only the CA has had from us.
func (v *visit) answerCA(r *message.Request) (exchange.Decision, bool) {
	if r.Method != http.MethodGet || !strings.HasPrefix(r.Target, certs.ChallengePath) {
		return exchange.Decision{}, false
	}
	text, ok := v.server.certs.HTTPChallenge(r.Authority.Host, r.Target)
	if !ok {
		return exchange.Decision{}, false // the backend may have an ACME client of its own
	}
	return exchange.Decision{Status: http.StatusOK, Page: exchange.Page{Text: text}}, true
}

// toHTTPS sends a client that the rules let in from port 80 to port 443, where
// that port of the same address has the site with a certificate. To anybody
// else it would tell that there is such a site.
func (c *call) toHTTPS(st *state, r *message.Request) (exchange.Decision, bool) {
	if r.Source.TLS || c.site.NoRedirect || !c.site.cert.exists() || c.visit.at.addr.Port() != httpPort || r.Authority.Text == "" {
		return exchange.Decision{}, false
	}
	if c.site.trust.scheme(r.Source.Client, r.Header, "http") == "https" {
		return exchange.Decision{}, false // a proxy of ours has TLS with the client: that would go round for ever
	}
	svc := c.visit.httpsBeside(st)
	if svc == nil || svc.tlsConfig == nil {
		return exchange.Decision{}, false
	}
	if there, ok := svc.sites.Find(r.Authority.Host); !ok || there != c.site {
		return exchange.Decision{}, false
	}
	d := exchange.Decision{Status: http.StatusMovedPermanently}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		d.Status = http.StatusPermanentRedirect // the method stays (RFC 9110 §15.4.9)
	}
	target := c.target // with what a route strips
	if target == "*" {
		target = "/"
	}
	d.Header.Add("Location", "https://"+r.Authority.Name()+target)
	return d, true
}

// httpsBeside finds what has port 443 of the address that the client came to:
// the same socket's address, or else the client's own idea of it, or all of the
// family. A proxy in front may have come to another address than its client.
func (v *visit) httpsBeside(st *state) *service {
	socket, all := v.at.addr.Addr(), netip.IPv4Unspecified()
	if socket.Is6() {
		all = netip.IPv6Unspecified()
	}
	for _, addr := range []netip.Addr{socket, v.local.Addr(), all} {
		if svc := st.services[endpoint{"tcp", netip.AddrPortFrom(addr, httpsPort)}]; svc != nil {
			return svc
		}
	}
	return nil
}
