package certs

import (
	"time"

	"github.com/caddyserver/certmagic"
)

// A Status tells how one certificate stands, for people and for metrics.
type Status struct {
	Name   string `json:"name"`   // what it is for, or the file's first name
	Source string `json:"source"` // "acme", "internal" or "file"
	File   string `json:"file,omitempty"`
	// Issuer is the common name of the CA's certificate. Empty: there is no
	// certificate yet.
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Error     string    `json:"error,omitempty"` // of the last order, renewal or reading; empty: it went well
	Tries     int       `json:"tries,omitempty"` // that failed in a row
	Next      time.Time `json:"next,omitzero"`   // when the next order is tried
}

// Status tells how all certificates stand that are not files, by name.
func (m *Manager) Status() []Status {
	cache := m.view.Load().cache
	var all []Status
	for _, k := range m.keepersNow() {
		s := Status{Name: k.subject.Name, Source: "acme"}
		if k.subject.kind().internal {
			s.Source = "internal"
		}
		k.mu.Lock()
		s.Next, s.Tries = k.next, k.tries
		if k.err != nil {
			s.Error = k.err.Error()
		}
		k.mu.Unlock()
		if cert, ok := latest(cache, k.subject.Name); ok {
			s.Issuer, s.NotBefore, s.NotAfter = cert.Leaf.Issuer.CommonName, cert.Leaf.NotBefore, cert.Leaf.NotAfter
		}
		all = append(all, s)
	}
	return all
}

// latest is the certificate of just this name that lasts longest.
func latest(cache *certmagic.Cache, name string) (best certmagic.Certificate, ok bool) {
	if cache == nil {
		return best, false
	}
	for _, c := range cache.AllMatchingCertificates(name) {
		if len(c.Names) > 0 && c.Names[0] == name && c.Leaf != nil && (!ok || c.Leaf.NotAfter.After(best.Leaf.NotAfter)) {
			best, ok = c, true
		}
	}
	return best, ok
}
