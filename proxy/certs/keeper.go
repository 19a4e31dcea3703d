package certs

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// A keeper sees to it that one subject's certificate is had: from the store, or
// by an order, which it repeats until it succeeds. From then on certmagic
// renews it.
type keeper struct {
	subject Subject
	manager *Manager
	engine  *engine
	config  *certmagic.Config
	stop    context.CancelFunc
	ready   chan struct{} // closed once there is a certificate
	again   chan struct{} // has room for one: somebody has mended something

	mu    sync.Mutex // guards the fields below
	tries int        // that failed in a row
	last  time.Time  // when it was last tried
	next  time.Time  // when the next order is tried; zero: none has to be
	err   error      // of the last order or renewal; nil: it went well
}

const (
	longestRetry = 6 * time.Hour
	// problemFactor is how much longer we wait after the CA has refused a name:
	// Let's Encrypt lets five validations of a name fail in an hour.
	problemFactor = 10
)

// run keeps at it until ctx ends or there is a certificate.
func (k *keeper) run(ctx context.Context) {
	for {
		err := k.try(ctx)
		if ctx.Err() != nil {
			return
		}
		k.note(err)
		if err == nil {
			close(k.ready)
			return
		}
		wait := k.wait(err)
		k.manager.log.Warn("no certificate", "name", k.subject.Name, "cause", err, "next", wait.Round(time.Second))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.again:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// hurry tries again now what has failed, as after a reload: what was wrong may
// be mended. Not for the sake of many reloads, though; and a CA that wants to be
// left alone still is.
func (k *keeper) hurry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next.IsZero() || time.Since(k.last) < k.engine.settings.Retry {
		return
	}
	select {
	case k.again <- struct{}{}:
	default:
	}
}

// try takes the certificate from the store or, where there is none, orders it.
func (k *keeper) try(ctx context.Context) error {
	cert, err := k.load(ctx)
	switch {
	case err == nil:
		k.outdate(cert)
		if cert.NeedsRenewal(k.config) {
			return k.renew(ctx, cert)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := k.config.ObtainCertSync(ctx, k.subject.Name); err != nil {
		return bare(err)
	}
	cert, err = k.load(ctx)
	if err == nil {
		k.outdate(cert)
	}
	return err
}

// renew renews what was found in the store and is due. A failure is not the
// end: what is there serves, and certmagic's maintenance tries again.
func (k *keeper) renew(ctx context.Context, old certmagic.Certificate) error {
	err := k.config.RenewCertSync(ctx, k.subject.Name, false)
	if err == nil {
		var cert certmagic.Certificate
		if cert, err = k.load(ctx); err == nil {
			k.outdate(cert)
			return nil
		}
	}
	if !old.Expired() && ctx.Err() == nil {
		k.manager.log.Warn("not renewed", "name", k.subject.Name, "cause", bare(err), "expires", old.Leaf.NotAfter)
		k.note(bare(err))
		return nil
	}
	return bare(err)
}

// load takes the certificate from the store into the cache, once what a crash
// has left is mended. One that cannot be used, after a fault of the disk, is
// taken away: else it would be in the way of a new one for ever.
func (k *keeper) load(ctx context.Context) (certmagic.Certificate, error) {
	if err := k.mend(ctx); err != nil {
		return certmagic.Certificate{}, err
	}
	cert, err := k.config.CacheManagedCertificate(ctx, k.subject.Name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return cert, err
	}
	if s, broken := k.look(ctx); broken != nil || s != torn {
		return cert, err
	}
	k.manager.log.Warn("the stored certificate cannot be used: ordering a new one", "name", k.subject.Name, "cause", err)
	dir := certmagic.StorageKeys.CertsSitePrefix(k.config.Issuers[0].IssuerKey(), k.subject.Name)
	if err := k.engine.store.Delete(ctx, dir); err != nil {
		return certmagic.Certificate{}, err
	}
	return certmagic.Certificate{}, fs.ErrNotExist
}

// outdate takes what the name had before out of the cache: of another CA, or
// renewed.
func (k *keeper) outdate(cert certmagic.Certificate) {
	var hashes []string
	cache := k.manager.view.Load().cache
	if cache == nil {
		return // stopping
	}
	for _, other := range cache.AllMatchingCertificates(k.subject.Name) {
		if len(other.Names) == 1 && other.Names[0] == k.subject.Name && other.Hash() != cert.Hash() {
			hashes = append(hashes, other.Hash())
		}
	}
	cache.Remove(hashes)
}

// note remembers how the last order went.
func (k *keeper) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.last, k.next = err, time.Now(), time.Time{}
	if err == nil {
		k.tries = 0
	}
}

// wait gives how long to wait after a failure: twice as long each time, longer
// where the CA itself has refused, and as long as it says.
func (k *keeper) wait(err error) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	base := k.engine.settings.Retry
	if errors.As(err, new(acme.Problem)) {
		base *= problemFactor
	}
	wait := min(base<<min(k.tries, 20), longestRetry)
	wait -= rand.N(wait/10 + 1) // hundreds of names shall not come at once
	k.tries++
	var refused *orderError
	if errors.As(err, &refused) {
		wait = max(wait, time.Until(refused.until))
	}
	k.next = time.Now().Add(wait)
	return wait
}

// bare takes what certmagic says around an error off: it names the subject, as
// our lines do.
func bare(err error) error {
	if e := (*orderError)(nil); errors.As(err, &e) {
		return e
	}
	return err
}

// firstCertificate reads the first certificate of a chain in PEM.
func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
