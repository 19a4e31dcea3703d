package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// A state is what the store has of one subject. certmagic writes the key, the
// certificate and its metadata one after the other, each of them whole or not at
// all: a crash in between leaves the first of the new ones beside the last of
// the old ones, which is mended without an order.
type state uint8

const (
	sound  state = iota
	absent       // key or certificate: there is nothing to mend
	// torn: the key is not the certificate's. A renewal has written its key.
	torn
	// untold: metadata that is missing, or of the certificate before, and would
	// say that the new one is due.
	untold
)

// files are keys of the store for one subject.
type files struct{ key, former, cert, meta string }

func filesOf(issuer, name string) files {
	keys := certmagic.StorageKeys
	key := keys.SitePrivateKey(issuer, name)
	return files{key, key + ".former", keys.SiteCert(issuer, name), keys.SiteMeta(issuer, name)}
}

func (k *keeper) files() files { return filesOf(k.config.Issuers[0].IssuerKey(), k.subject.Name) }

// remember keeps the key of what is renewed now, in case that is cut short.
func (e *engine) remember(ctx context.Context, issuer, name string) error {
	f := filesOf(issuer, name)
	key, err := e.store.Load(ctx, f.key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // of a directory that is not ours any more
	}
	if err != nil {
		return err
	}
	return e.store.Store(ctx, f.former, key)
}

// forget takes away what remember has kept.
func (e *engine) forget(ctx context.Context, issuer, name string) error {
	return e.store.Delete(ctx, filesOf(issuer, name).former)
}

// mend mends what a crash has left half done; what it cannot mend it leaves.
// Who writes the files now, as another process may, is waited for.
func (k *keeper) mend(ctx context.Context) error {
	if s, err := k.look(ctx); err != nil || s == sound || s == absent {
		return err
	}
	lock := "issue_cert_" + k.subject.Name // certmagic's, around orders
	if err := k.engine.store.Lock(ctx, lock); err != nil {
		return err
	}
	defer k.engine.store.Unlock(ctx, lock)
	s, err := k.look(ctx)
	if err != nil {
		return err
	}
	switch s {
	case torn:
		return k.restore(ctx)
	case untold:
		return k.tell(ctx)
	}
	return nil
}

// look tells how the files stand.
func (k *keeper) look(ctx context.Context) (state, error) {
	f := k.files()
	key, err1 := k.engine.store.Load(ctx, f.key)
	cert, err2 := k.engine.store.Load(ctx, f.cert)
	meta, err3 := k.engine.store.Load(ctx, f.meta)
	for _, err := range []error{err1, err2, err3} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return sound, err
		}
	}
	if err1 != nil || err2 != nil {
		return absent, nil
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return torn, nil
	}
	if err3 != nil || !isOf(meta, cert) {
		return untold, nil
	}
	return sound, nil
}

// isOf tells that metadata can be read and says nothing of another certificate.
func isOf(meta, cert []byte) bool {
	var resource certmagic.CertificateResource
	if json.Unmarshal(meta, &resource) != nil {
		return false
	}
	var data acme.Certificate
	if json.Unmarshal(resource.IssuerData, &data) != nil || data.RenewalInfo == nil || data.RenewalInfo.UniqueIdentifier == "" {
		return true // of our own CA, or of one without ARI
	}
	leaf, err := firstCertificate(cert)
	if err != nil {
		return false
	}
	id, err := acme.ARIUniqueIdentifier(leaf)
	return err == nil && id == data.RenewalInfo.UniqueIdentifier
}

// restore puts the key back that a renewal has replaced, if it is that of the
// certificate.
func (k *keeper) restore(ctx context.Context) error {
	f := k.files()
	cert, err1 := k.engine.store.Load(ctx, f.cert)
	key, err2 := k.engine.store.Load(ctx, f.former)
	if errors.Is(err2, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return nil
	}
	k.manager.log.Info("a renewal was cut short: the certificate before it serves", "name", k.subject.Name)
	return k.engine.store.Store(ctx, f.key, key)
}

// tell writes metadata that say no more than the name. When the CA wants this
// certificate renewed (RFC 9773) is lost: its age decides.
func (k *keeper) tell(ctx context.Context) error {
	text, err := json.Marshal(certmagic.CertificateResource{SANs: []string{k.subject.Name}})
	if err != nil {
		return fmt.Errorf("metadata of %q: %w", k.subject.Name, err)
	}
	k.manager.log.Info("metadata of a certificate were not written: its age says when it is renewed", "name", k.subject.Name)
	return k.engine.store.Store(ctx, k.files().meta, text)
}
