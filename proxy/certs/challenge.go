package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"genkan/proxy/certs/store"
)

var errNoOrder = errors.New("no certificate for the name is on order: this challenge is not ours")

// ChallengePath begins the path of a CA's HTTP-01 request (RFC 8555 §8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// challenges are those that CAs are to find answered now. They are in the store
// too, as a CA may come to the other process while one Genkan replaces another.
type challenges struct {
	store *store.Store

	mu    sync.Mutex // guards the fields below
	http  map[string]acme.Challenge
	certs map[string]*tls.Certificate
}

func newChallenges(s *store.Store) *challenges {
	return &challenges{store: s, http: map[string]acme.Challenge{}, certs: map[string]*tls.Certificate{}}
}

const challengeDir = "challenges"

// longestToken bounds a token. RFC 8555 §8.3 wants 128 bits at least, CAs
// have 256, 43 letters.
const longestToken = 128

// tokenKey is where a token's challenge is kept; false where it is none (RFC
// 8555 §8.1: base64url).
func tokenKey(token string) (string, bool) {
	if token == "" || len(token) > longestToken {
		return "", false
	}
	for _, c := range []byte(token) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
	}
	return path.Join(challengeDir, token+".json"), true
}

func nameKey(name string) string {
	return path.Join(challengeDir, "name@"+certmagic.StorageKeys.Safe(name)+".json")
}

// http01 gives what a CA is to be told which asks host for urlPath; false where
// the request is no challenge of ours. The name has to be the one on order: a
// CA that another name leads here learns nothing (DNS rebinding).
func (c *challenges) http01(host, urlPath string) (string, bool) {
	token, is := strings.CutPrefix(urlPath, ChallengePath)
	key, ok := tokenKey(token)
	if !is || !ok {
		return "", false
	}
	c.mu.Lock()
	chal, ok := c.http[token]
	c.mu.Unlock()
	if !ok {
		chal, ok = c.load(key)
	}
	if !ok || chal.Token != token || !strings.EqualFold(chal.Identifier.Value, host) {
		return "", false
	}
	return chal.KeyAuthorization, true
}

// alpn01 gives the certificate that a CA is to be shown (RFC 8737 §3).
func (c *challenges) alpn01(name string) (*tls.Certificate, bool) {
	name = strings.ToLower(name)
	c.mu.Lock()
	cert := c.certs[name]
	c.mu.Unlock()
	if cert != nil {
		return cert, true
	}
	chal, ok := c.load(nameKey(name))
	if !ok || !strings.EqualFold(chal.Identifier.Value, name) {
		return nil, false
	}
	cert, err := acmez.TLSALPN01ChallengeCert(chal)
	return cert, err == nil
}

// load finds a challenge of another process.
func (c *challenges) load(key string) (chal acme.Challenge, ok bool) {
	text, err := c.store.Load(context.Background(), key)
	if err != nil {
		return chal, false
	}
	return chal, json.Unmarshal(text, &chal) == nil
}

func (c *challenges) save(ctx context.Context, key string, chal acme.Challenge) error {
	text, err := json.Marshal(chal)
	if err != nil {
		return err
	}
	return c.store.Store(ctx, key, text)
}

// staleAfter is when a challenge in the store is nobody's any more: an order
// that was cut short by a crash leaves its own there.
const staleAfter = 24 * time.Hour

// sweep removes stale challenges.
func (c *challenges) sweep(ctx context.Context) {
	keys, err := c.store.List(ctx, challengeDir, false)
	if err != nil {
		return // there are none
	}
	for _, key := range keys {
		if info, err := c.store.Stat(ctx, key); err == nil && time.Since(info.Modified) > staleAfter {
			_ = c.store.Delete(ctx, key) // tried again at the next start
		}
	}
}

// An httpSolver is acmez's way to HTTP-01.
type httpSolver struct{ *challenges }

// Present makes the answer known before the CA asks.
func (s httpSolver) Present(ctx context.Context, chal acme.Challenge) error {
	key, ok := tokenKey(chal.Token)
	if !ok {
		return errors.New("the CA's token is not base64url; is it an ACME CA?")
	}
	s.mu.Lock()
	s.http[chal.Token] = chal
	s.mu.Unlock()
	return s.save(ctx, key, chal)
}

// CleanUp forgets it, though ctx may be over.
func (s httpSolver) CleanUp(ctx context.Context, chal acme.Challenge) error {
	s.mu.Lock()
	delete(s.http, chal.Token)
	s.mu.Unlock()
	key, ok := tokenKey(chal.Token)
	if !ok {
		return nil
	}
	return s.store.Delete(context.WithoutCancel(ctx), key)
}

// An alpnSolver is acmez's way to TLS-ALPN-01.
type alpnSolver struct{ *challenges }

// Present makes the certificate before the CA asks.
func (s alpnSolver) Present(ctx context.Context, chal acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(chal)
	if err != nil {
		return err
	}
	name := strings.ToLower(chal.Identifier.Value)
	s.mu.Lock()
	s.certs[name] = cert
	s.mu.Unlock()
	return s.save(ctx, nameKey(name), chal)
}

// CleanUp forgets it, though ctx may be over.
func (s alpnSolver) CleanUp(ctx context.Context, chal acme.Challenge) error {
	name := strings.ToLower(chal.Identifier.Value)
	s.mu.Lock()
	delete(s.certs, name)
	s.mu.Unlock()
	return s.store.Delete(context.WithoutCancel(ctx), nameKey(name))
}
