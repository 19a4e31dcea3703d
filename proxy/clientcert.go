package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mholt/acmez/v3"

	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// A clientCA is who vouches for the clients of a site.
type clientCA struct {
	pool     *x509.CertPool
	roots    map[string]bool // the same, by their bytes
	optional bool
}

// loadClientCA reads the authorities of a site that asks clients for
// certificates; nil where it does not.
func (one *site) loadClientCA() (*clientCA, error) {
	switch {
	case one.ClientCA == "" && one.ClientOptional:
		return nil, errors.New("client certificates are optional, and nobody vouches for them; write client_ca")
	case one.ClientCA == "":
		return nil, nil
	case !one.cert.exists():
		return nil, errors.New("client_ca is for clients that speak TLS; write cert and key, or tls, too")
	}
	text, err := os.ReadFile(one.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("client_ca %q: %w", one.ClientCA, cause(errors.Unwrap(err)))
	}
	ca := &clientCA{x509.NewCertPool(), map[string]bool{}, one.ClientOptional}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("client_ca %q: %w", one.ClientCA, err)
		}
		ca.pool.AddCert(cert)
		ca.roots[string(cert.Raw)] = true
	}
	if len(ca.roots) == 0 {
		return nil, fmt.Errorf("client_ca %q: no certificate in it; write the authority's, PEM", one.ClientCA)
	}
	return ca, nil
}

// askForCertificates makes a listener's TLS ask clients for a certificate
// where the site that they come to wants one. There is no going on with an
// earlier session then: it would be another site's, which has not asked.
func askForCertificates(config *tls.Config, find func(*tls.ClientHelloInfo) *clientCA) *tls.Config {
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen, err := choose(hello)
		ca := find(hello)
		if err != nil || ca == nil {
			return chosen, err
		}
		if chosen == nil {
			chosen = config
		}
		if len(chosen.NextProtos) == 1 && chosen.NextProtos[0] == acmez.ACMETLS1Protocol {
			return chosen, nil // a CA, which gets no further than the handshake
		}
		chosen = chosen.Clone()
		chosen.GetConfigForClient = nil
		chosen.SessionTicketsDisabled = true
		chosen.ClientCAs, chosen.ClientAuth = ca.pool, tls.RequireAndVerifyClientCert
		if ca.optional {
			chosen.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return chosen, nil
	}
	return config
}

// clientCA is who vouches for clients of the name that one asks for.
func (f finder) clientCA(hello *tls.ClientHelloInfo) *clientCA {
	name, err := serverName(hello.ServerName)
	if err != nil {
		return nil
	}
	if one, ok := f.svc.sites.Find(name); ok {
		return one.clientCA
	}
	return nil
}

// proof is the client's certificate, where one of ours vouches for it; nil:
// none. The handshake has checked chain, dates and key.
func (ca *clientCA) proof(chains [][]*x509.Certificate) *x509.Certificate {
	for _, chain := range chains {
		if ca.roots[string(chain[len(chain)-1].Raw)] {
			return chain[0]
		}
	}
	return nil
}

// certified refuses a client that has not shown the certificate that the site
// wants. A connection that was made for another site was not asked for it:
// 421 has the client come again (RFC 9110 §15.5.20).
func (c *call) certified(r *message.Request, st *state) (d exchange.Decision, refused bool) {
	ca := c.site.clientCA
	if ca == nil {
		return d, false
	}
	if c.proof = ca.proof(r.Source.Proof); c.proof != nil {
		return d, false
	}
	switch came, _ := st.services[c.visit.at].sites.Find(r.Source.ServerName); {
	case !r.Source.TLS && ca.optional, r.Source.TLS && came == c.site && ca.optional:
		return d, false
	case !r.Source.TLS:
		return c.refuse(r, 403, "a certificate is needed here; come by https://"), true
	case came != c.site:
		return c.refuse(r, 421, "this connection was made for another site"), true
	}
	return c.refuse(r, 403, "a certificate is needed here"), true
}

// certFields tells the backend whose certificate it was: as nginx users know
// it, and whole (RFC 9440 §2).
func (c *call) certFields(h *message.Header) {
	if c.site.clientCA == nil {
		return
	}
	if c.proof == nil {
		h.Add("X-SSL-Client-Verify", "NONE")
		return
	}
	h.Add("X-SSL-Client-Verify", "SUCCESS")
	h.Add("X-SSL-Client-S-DN", fieldText(c.proof.Subject.String()))
	h.Add("X-SSL-Client-Serial", c.proof.SerialNumber.Text(16))
	h.Add("Client-Cert", ":"+base64.StdEncoding.EncodeToString(c.proof.Raw)+":")
}

// fieldText is text as a field may have it: other bytes are percent-encoded.
func fieldText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return message.TrimBlank(b.String())
}
