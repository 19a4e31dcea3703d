package proxy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"genkan/proxy/certs"
)

// A certificate is what a site or a forward shows its clients: a pair of files,
// or what a manager has. The zero certificate is none.
type certificate struct {
	pair *certs.Pair
	from *certs.Manager
}

func (c certificate) exists() bool { return c.pair != nil || c.from != nil }

// slow tells that a handshake with c may wait, for an order or a store, or keep
// a processor for milliseconds, as a signature by RSA does.
func (c certificate) slow() bool {
	if c.pair == nil {
		return c.from != nil
	}
	switch c.pair.Certificate().PrivateKey.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
		return false
	}
	return true
}

// get gives the certificate for a name in a handshake.
func (c certificate) get(hello *tls.ClientHelloInfo, name string) (*tls.Certificate, error) {
	if c.pair != nil {
		return c.pair.Certificate(), nil
	}
	return c.from.Get(hello, name, localOf(hello))
}

// localOf is the address that a client came to.
func localOf(hello *tls.ClientHelloInfo) netip.Addr {
	if hello.Conn == nil {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// certify finds the certificate of a site.
func (st *state) certify(one *site, s *Server) (err error) {
	if one.cert, err = st.certificate(one.Cert, one.Key, one.CertSource, s); err != nil {
		return err
	}
	return st.want(one.CertSource, one.TLSProfile, one.Hosts)
}

// certificate finds a certificate in files or promises one.
func (st *state) certificate(cert, key string, source CertSource, s *Server) (certificate, error) {
	switch {
	case source > CertInternal:
		return certificate{}, fmt.Errorf("cert source %d is none of ours", source)
	case cert == "" && key == "" && source == CertNone:
		return certificate{}, nil
	case source != CertNone && (cert != "" || key != ""):
		return certificate{}, errors.New("a certificate comes from files or by itself; write cert and key, or tls")
	case source != CertNone:
		return certificate{from: s.certs}, nil
	case cert == "" || key == "":
		return certificate{}, errors.New("cert and key belong together; write both")
	}
	files := [2]string{cert, key}
	if st.pairs[files] == nil {
		pair, err := certs.NewPair(cert, key)
		if err != nil {
			return certificate{}, err
		}
		st.pairs[files] = pair
	}
	return certificate{pair: st.pairs[files]}, nil
}

// want notes the certificates that are to be had. What of it cannot be had
// addSubjects says, who knows all listeners.
func (st *state) want(source CertSource, profile certs.Profile, patterns []string) error {
	if source == CertNone {
		return nil
	}
	for _, pattern := range patterns {
		name, err := canonicalPattern(pattern)
		if err != nil || name == "default" {
			continue // it has been reported; it has no name
		}
		one := certs.Subject{Name: name, Internal: source == CertInternal, RSA: profile == certs.Old}
		if st.asksFor(one) || slices.Contains(st.subjects, one) {
			continue
		}
		st.subjects = append(st.subjects, one)
	}
	return nil
}

// asksFor tells that a wildcard's names are ordered one by one, as clients ask
// for them: there is an allow-list, and no DNS-01.
func (st *state) asksFor(one certs.Subject) bool {
	return strings.HasPrefix(one.Name, "*.") && st.config.Certs.Ask != "" && st.config.Certs.Refuse(one) != nil
}

// addSubjects holds what is to be had against the settings.
func (st *state) addSubjects(errs *faults) {
	for e, svc := range st.services {
		if e.network != "tcp" {
			continue
		}
		switch e.addr.Port() {
		case httpPort:
			st.config.Certs.HTTP = st.config.Certs.HTTP || !svc.sites.Empty() && svc.tlsConfig == nil
		case httpsPort:
			st.config.Certs.TLS = st.config.Certs.TLS || svc.tlsConfig != nil || svc.forward != nil && svc.forward.tls != nil
		}
	}
	hasAuto := len(st.subjects) > 0
	for _, svc := range st.services {
		hasAuto = hasAuto || svc.hasAuto
	}
	if !hasAuto {
		st.config.Certs = certs.Settings{}
		return
	}
	for _, err := range st.config.Certs.Validate() {
		errs.add("[acme]", err)
	}
	if st.config.Certs.Dir == "" {
		errs.add("[acme]", errors.New("no place to keep certificates in; write storage"))
	}
	slices.SortFunc(st.subjects, func(a, b certs.Subject) int { return strings.Compare(a.Name, b.Name) })
	for _, one := range st.subjects {
		errs.add(st.wanter(one.Name), st.config.Certs.Refuse(one))
	}
}

// wanter finds who wants a certificate for a name, for a fault's place.
func (st *state) wanter(name string) string {
	has := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			canonical, err := canonicalPattern(p)
			return err == nil && canonical == name
		})
	}
	for _, one := range st.config.Sites {
		if st.sites[one.Name] != nil && one.CertSource != CertNone && has(st.sites[one.Name].Hosts) {
			return fmt.Sprintf("site %q", one.Name)
		}
	}
	for _, f := range st.config.Forwards {
		if f.CertSource != CertNone && (has(f.CertNames) || has(f.SNI)) {
			return fmt.Sprintf("forward %q", f.Name)
		}
	}
	return ""
}

// startCerts starts what has certificates, and follows those in files until
// s.serving ends. s.mu is held.
func (s *Server) startCerts(following *sync.WaitGroup) {
	s.applyCerts(s.state.Load())
	if err := s.certs.Start(); err != nil {
		s.log.Error("no certificates", "cause", err)
	}
	following.Go(func() { certs.Follow(s.serving, s.log, s.pairs) })
}

// applyCerts has what st wants. Sites are served without, if it comes to that.
func (s *Server) applyCerts(st *state) {
	if err := s.certs.Apply(st.config.Certs, st.subjects); err != nil {
		s.log.Error("no certificates", "cause", err)
	}
}

// pairs are the certificates in files that are served now.
func (s *Server) pairs() []*certs.Pair {
	return slices.Collect(maps.Values(s.state.Load().pairs))
}

// certificates tells how all certificates stand.
func (s *Server) certificates() []certs.Status {
	all := append([]certs.Status{}, s.certs.Status()...)
	for _, p := range s.pairs() {
		all = append(all, p.Status())
	}
	slices.SortStableFunc(all, func(a, b certs.Status) int { return strings.Compare(a.Name+a.File, b.Name+b.File) })
	return all
}
