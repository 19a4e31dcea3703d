// Package certs is TLS towards clients: certificates from files, and the one
// set of parameters that every TLS listener has.
//
//	cert, err := certs.Load("www.pem", "www.key")
//	config := certs.Config(func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { … }, "h2", "http/1.1")
//	conn := tls.Server(raw, config)
package certs

import (
	"crypto/tls"
	"fmt"
	"os"
	"time"
)

// Load reads a certificate with its chain, the server's own first, and its
// key, both PEM. A certificate that is over, or not yet valid, is an error:
// every client would refuse it.
func Load(certFile, keyFile string) (*tls.Certificate, error) {
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
	now := time.Now()
	switch {
	case now.After(cert.Leaf.NotAfter):
		return nil, fmt.Errorf("cert %q: expired on %s; get a new one", certFile, cert.Leaf.NotAfter.Format(time.DateOnly))
	case now.Before(cert.Leaf.NotBefore):
		return nil, fmt.Errorf("cert %q: not valid before %s; is the clock right?", certFile, cert.Leaf.NotBefore.Format(time.DateTime))
	}
	return &cert, nil
}

// reason takes the path away, which the message has already.
func reason(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

// Config is Mozilla's "intermediate" profile (version 5.7): TLS 1.3 and 1.2,
// the latter with ephemeral keys and authenticated encryption only. protos
// are offered by ALPN, the preferred first.
func Config(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), protos ...string) *tls.Config {
	return &tls.Config{
		GetCertificate: get,
		NextProtos:     protos,
		MinVersion:     tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
