package certs

import (
	"fmt"

	"github.com/caddyserver/certmagic"

	"genkan/proxy/certs/store"
)

// An engine is what Settings make: the store, the CAs, and certmagic's
// configurations for each kind of subject.
type engine struct {
	settings   Settings
	store      *store.Store
	challenges *challenges
	configs    map[kind]*certmagic.Config
	acme       []*authority
}

// A kind of subject is had in one way.
type kind struct{ internal, rsa bool }

func (s Subject) kind() kind { return kind{s.Internal || Private(s.Name), s.RSA} }

func newEngine(s Settings, m *Manager) (*engine, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	st, err := store.Open(s.Dir)
	if err != nil {
		return nil, err
	}
	e := &engine{settings: s, store: st, challenges: newChallenges(st), configs: map[kind]*certmagic.Config{}}
	e.challenges.sweep(m.life)
	for _, k := range []kind{{}, {rsa: true}, {internal: true}, {internal: true, rsa: true}} {
		var issuer certmagic.Issuer
		suffix, keys := "", certmagic.StandardKeyGenerator{KeyType: certmagic.P256}
		if k.rsa {
			suffix, keys.KeyType = "-rsa", certmagic.RSA2048
		}
		if k.internal {
			issuer = &localCA{store: st, lifetime: s.Lifetime, suffix: suffix}
		} else {
			a := newAuthority(e, roots, m, suffix)
			e.acme = append(e.acme, a)
			issuer = a
		}
		e.configs[k] = certmagic.New(m.cache, certmagic.Config{
			RenewalWindowRatio: certmagic.DefaultRenewalWindowRatio,
			Issuers:            []certmagic.Issuer{issuer},
			KeySource:          keys,
			Storage:            st,
			OnEvent:            m.event,
			DisableARI:         k.internal,
			Logger:             m.zap,
		})
	}
	return e, nil
}

// close lets go of connections.
func (e *engine) close() {
	for _, a := range e.acme {
		a.close()
	}
}
