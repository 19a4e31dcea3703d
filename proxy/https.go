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
	local := c.visit.local
	if r.Source.TLS || c.site.NoRedirect || !c.site.cert.exists() || local.Port() != httpPort {
		return exchange.Decision{}, false
	}
	svc := st.serviceAt(netip.AddrPortFrom(local.Addr(), httpsPort))
	if svc == nil || svc.tlsConfig == nil || r.Authority.Text == "" {
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

// serviceAt finds what listens for TCP at an address: a socket of its own, or
// of all addresses of the family.
func (st *state) serviceAt(at netip.AddrPort) *service {
	if svc := st.services[endpoint{"tcp", at}]; svc != nil {
		return svc
	}
	any := netip.IPv4Unspecified()
	if at.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	return st.services[endpoint{"tcp", netip.AddrPortFrom(any, at.Port())}]
}
