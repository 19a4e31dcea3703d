// Package certs is TLS towards clients: where certificates come from, and the
// parameters that every TLS listener has.
//
//	m := certs.NewManager(log)
//	err := m.Apply(settings, subjects)     // what is to be had, before or while it runs
//	m.Start(ctx)                           // orders, renews, until Close
//	cert, err := m.Get(hello, name)        // in a handshake
//	defer m.Close()
//
// A certificate is of a pair of files, followed as they change (files.go); or
// of an ACME CA (authority.go), by certmagic, which keeps it in package store
// and renews it when it or the CA says so; or, for names and addresses that no
// public CA knows, of a CA of our own (local.go). What is wanted is ordered by
// a keeper each (keeper.go), after a look whether the name leads here at all
// (preflight.go), and not where a crash has left a certificate that can be used
// (mend.go). The CA's challenges are answered by our own listeners:
// challenge.go has what they say, dns01.go what goes into DNS. No name is
// ordered for because a client asks for it, unless an allow-list agrees
// (demand.go).
package certs

import (
	"crypto/tls"
	"fmt"
	"os"
	"time"
)

// read reads a certificate with its chain, the server's own first, and its
// key, both PEM.
func read(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("cert %q: %w", certFile, reason(err))
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", keyFile, reason(err))
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("cert %q, key %q: %w; want PEM files, the key of the first certificate", certFile, keyFile, err)
	}
	return &cert, nil
}

// timely refuses a certificate that every client would refuse now.
func timely(certFile string, cert *tls.Certificate) error {
	now := time.Now()
	switch {
	case now.After(cert.Leaf.NotAfter):
		return fmt.Errorf("cert %q: expired on %s; get a new one", certFile, cert.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(cert.Leaf.NotBefore):
		return fmt.Errorf("cert %q: not valid before %s; is the clock right?", certFile, cert.Leaf.NotBefore.Format(time.DateTime))
	}
	return nil
}

// reason takes the path away, which the message has already.
func reason(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}
