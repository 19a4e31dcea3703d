package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

// certificate writes a certificate for httpHost, with its key behind it in one
// file as HAProxy wants it, and the key alone.
func (p place) certificate() (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "" // the contestant will say that they are not there
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{httpHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", ""
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", ""
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	return p.write("cert.pem", "%s%s", certPEM, keyPEM), p.write("key.pem", "%s", keyPEM)
}
