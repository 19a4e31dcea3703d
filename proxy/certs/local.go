package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"

	"github.com/caddyserver/certmagic"

	"genkan/proxy/certs/store"
)

// RootKey is where in the store our own CA's certificate is, for clients to
// import.
const RootKey = "internal/root.crt"

const (
	rootKeyKey   = "internal/root.key"
	rootLifetime = 10 * 365 * 24 * time.Hour
	rootLock     = "internal_root"
)

// A localCA is our own CA: a certmagic.Issuer for names and addresses that no
// public CA knows. Its root is made once and kept.
type localCA struct {
	store    *store.Store
	lifetime time.Duration // of what it issues
	suffix   string        // of the issuer's key
}

// IssuerKey names it in the store.
func (ca *localCA) IssuerKey() string { return "internal" + ca.suffix }

// Issue signs what csr asks for.
func (ca *localCA) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("internal CA: %w", err)
	}
	root, err := ca.root(ctx)
	if err != nil {
		return nil, fmt.Errorf("internal CA: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	end := now.Add(ca.lifetime)
	if end.After(root.Leaf.NotAfter) {
		end = root.Leaf.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		DNSNames:     csr.DNSNames,
		IPAddresses:  csr.IPAddresses,
		NotBefore:    now.Add(-skew(ca.lifetime)),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root.Leaf, csr.PublicKey, root.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("internal CA: %w", err)
	}
	return &certmagic.IssuedCertificate{Certificate: pemOf("CERTIFICATE", der)}, nil
}

// skew is how much earlier a certificate begins, for clients whose clock is
// behind.
func skew(lifetime time.Duration) time.Duration { return min(time.Hour, lifetime/10) }

// root reads the root, or makes one where there is none, or it ends soon.
func (ca *localCA) root(ctx context.Context) (*tls.Certificate, error) {
	if err := ca.store.Lock(ctx, rootLock); err != nil {
		return nil, err
	}
	defer ca.store.Unlock(ctx, rootLock)
	cert, err := ca.store.Load(ctx, RootKey)
	key, err2 := ca.store.Load(ctx, rootKeyKey)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist):
		return ca.makeRoot(ctx)
	case err != nil || err2 != nil:
		return nil, errors.Join(err, err2)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil || time.Until(pair.Leaf.NotAfter) < 4*ca.lifetime {
		return ca.makeRoot(ctx)
	}
	return &pair, nil
}

// makeRoot makes a new root. The key comes first: a crash in between leaves a
// pair that does not fit, and the next start makes another one.
func (ca *localCA) makeRoot(ctx context.Context) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "Genkan on " + host + " " + now.Format(time.DateOnly)},
		NotBefore:             now.Add(-skew(ca.lifetime)),
		NotAfter:              now.Add(max(rootLifetime, 8*ca.lifetime)),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := keyToPEM(key)
	if err != nil {
		return nil, err
	}
	certPEM := pemOf("CERTIFICATE", der)
	if err := errors.Join(ca.store.Store(ctx, rootKeyKey, keyPEM), ca.store.Store(ctx, RootKey, certPEM)); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	return &pair, err
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyToPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pemOf("PRIVATE KEY", der), nil
}
