package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// A Manager has the certificates that are not files. It is made by NewManager;
// what it has goes on through each Apply, and ends with Close.
type Manager struct {
	log *slog.Logger
	zap *zap.Logger

	life   context.Context // until Close
	end    context.CancelFunc
	orders gate           // at once
	owned  sync.WaitGroup // keepers

	// What handshakes, CAs' questions and certmagic look at, which must not
	// wait for mu: certmagic asks with a lock of its cache held.
	view atomic.Pointer[view]

	mu       sync.Mutex // guards the fields below
	started  bool
	settings Settings
	subjects []Subject
	engine   *engine          // of settings; nil: nothing is to be had
	cache    *certmagic.Cache // nil until there is something to be had; then it stays
	keepers  map[Subject]*keeper
	demand   demand
}

// A view is what is to be had, as a whole. It is not changed.
type view struct {
	engine *engine          // nil: nothing
	cache  *certmagic.Cache // nil: nothing yet
	kinds  map[string]kind  // of subjects by name; others are of the kind that their name says
}

// ordersAtOnce bounds the orders on their way: hundreds of sites may start at
// once, and CAs count.
const ordersAtOnce = 8

// NewManager makes a Manager that does nothing before Start.
func NewManager(log *slog.Logger) *Manager {
	life, end := context.WithCancel(context.Background())
	m := &Manager{log: log, zap: newZap(log), life: life, end: end, orders: make(gate, ordersAtOnce), keepers: map[Subject]*keeper{}}
	m.view.Store(&view{})
	return m
}

// Start begins to have what Apply has said, or says later.
func (m *Manager) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = true
	return m.follow()
}

// Apply says what is to be had from now on: what was to be had before, too,
// goes on untouched unless settings differ. Settings without Dir: nothing is.
// An error is of the directory; what could be had before can be still.
func (m *Manager) Apply(settings Settings, subjects []Subject) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if settings != m.settings {
		m.dismiss()
	}
	m.settings, m.subjects = settings, slices.Clone(subjects)
	if !m.started {
		return nil
	}
	return m.follow()
}

// dismiss lets go of the engine and all that is at work with it. m.mu is held.
func (m *Manager) dismiss() {
	for subject, k := range m.keepers {
		k.stop()
		delete(m.keepers, subject)
	}
	m.demand.forget()
	if m.engine != nil {
		m.engine.close()
		m.engine = nil
	}
}

// follow makes what is at work the same as what is to be had. m.mu is held.
func (m *Manager) follow() error {
	defer m.show()
	if m.settings.Dir == "" || m.life.Err() != nil {
		return nil
	}
	if m.cache == nil {
		m.cache = certmagic.NewCache(certmagic.CacheOptions{
			GetConfigForCert:   m.configOf,
			RenewCheckInterval: m.settings.fill().Check,
			Logger:             m.zap,
		})
	}
	if m.engine == nil {
		e, err := newEngine(m.settings.fill(), m)
		if err != nil {
			return err
		}
		m.engine = e
	}
	for subject, k := range m.keepers {
		if !slices.Contains(m.subjects, subject) {
			k.stop()
			delete(m.keepers, subject)
			m.cache.RemoveManaged([]certmagic.SubjectIssuer{{Subject: subject.Name}})
		}
	}
	m.show() // before keepers ask the engine
	for _, subject := range m.subjects {
		if k := m.keepers[subject]; k != nil {
			k.hurry()
		} else {
			m.keepers[subject] = m.keep(subject)
		}
	}
	return nil
}

// show shows what is to be had. m.mu is held.
func (m *Manager) show() {
	v := &view{engine: m.engine, cache: m.cache, kinds: map[string]kind{}}
	for _, s := range m.subjects {
		v.kinds[s.Name] = s.kind()
	}
	m.view.Store(v)
}

// keep starts a keeper. m.mu is held.
func (m *Manager) keep(subject Subject) *keeper {
	ctx, stop := context.WithCancel(m.life)
	k := &keeper{subject: subject, manager: m, engine: m.engine, config: m.engine.configs[subject.kind()], stop: stop, ready: make(chan struct{}), again: make(chan struct{}, 1)}
	m.owned.Go(func() {
		defer stop()
		k.run(ctx)
	})
	return k
}

// Close ends all that is on its way and waits for it. It may be called again.
func (m *Manager) Close() {
	m.end()
	m.mu.Lock()
	cache, engine := m.cache, m.engine
	m.dismiss()
	m.cache = nil
	m.show()
	m.mu.Unlock()
	m.owned.Wait()
	if cache == nil {
		return
	}
	cache.Stop()
	if engine != nil {
		// Renewals are certmagic's own; they hold locks until they are over.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := engine.store.Close(ctx); err != nil {
			m.log.Warn("a renewal does not end", "cause", err)
		}
	}
}

// configOf gives certmagic what it renews a certificate by.
func (m *Manager) configOf(c certmagic.Certificate) (*certmagic.Config, error) {
	v := m.view.Load()
	if v.engine == nil || len(c.Names) == 0 {
		return nil, errors.New("certificates are not managed any more")
	}
	k, written := v.kinds[c.Names[0]]
	if !written {
		k = Subject{Name: c.Names[0]}.kind()
	}
	return v.engine.configs[k], nil
}

// keeperOf finds the keeper of a name; nil where there is none. m.mu is held.
func (m *Manager) keeperOf(name string) *keeper {
	for _, kind := range []Subject{{Name: name}, {Name: name, RSA: true}, {Name: name, Internal: true}, {Name: name, Internal: true, RSA: true}} {
		if k := m.keepers[kind]; k != nil {
			return k
		}
	}
	return m.demand.keepers[name]
}

// Get gives the certificate for a name in a handshake. name is "" or an address
// where the client has asked for none: then it is for local, by our own CA. A
// name that nobody has written down is had where the allow-list agrees; the
// handshake waits for it as long as its context lasts.
func (m *Manager) Get(hello *tls.ClientHelloInfo, name string, local netip.Addr) (*tls.Certificate, error) {
	_, notName := netip.ParseAddr(name)
	if name == "" || notName == nil {
		if !local.IsValid() || local.IsUnspecified() {
			return nil, errors.New("neither a name nor an address to show a certificate for")
		}
		name = local.Unmap().WithZone("").String()
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if cert := m.cached(hello, name); cert != nil {
		return cert, nil
	}
	ctx := hello.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	k, err := m.order(ctx, name)
	if err != nil {
		return nil, err
	}
	select {
	case <-k.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("no certificate for %q yet: %w", name, ctx.Err())
	case <-m.life.Done():
		return nil, errors.New("stopping")
	}
	if cert := m.cached(hello, name); cert != nil {
		return cert, nil
	}
	return nil, fmt.Errorf("no certificate for %q", name)
}

// cached gives the best certificate for the client; nil where there is none.
func (m *Manager) cached(hello *tls.ClientHelloInfo, name string) *tls.Certificate {
	v := m.view.Load()
	if v.cache == nil {
		return nil
	}
	cert, err := certmagic.DefaultCertificateSelector(hello, v.cache.AllMatchingCertificates(name))
	if err != nil {
		return nil
	}
	return &cert.Certificate
}

// HTTPChallenge gives what a CA that asks host for path is to be told; false
// where the request is none of a CA's for an order of ours.
func (m *Manager) HTTPChallenge(host, path string) (string, bool) {
	if !strings.HasPrefix(path, ChallengePath) {
		return "", false
	}
	if e := m.view.Load().engine; e != nil {
		return e.challenges.http01(host, path)
	}
	return "", false
}

// Challenge gives the certificate that a CA which asks for name by TLS-ALPN-01
// is to be shown; false where there is no order.
func (m *Manager) Challenge(name string) (*tls.Certificate, bool) {
	if e := m.view.Load().engine; e != nil {
		return e.challenges.alpn01(name)
	}
	return nil, false
}

// event hears of what certmagic does by itself: renewals. Its error stops a
// renewal that has not begun.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	issuer, _ := data["issuer"].(string)
	renewal, _ := data["renewal"].(bool)
	engine := m.view.Load().engine
	switch event {
	case "cert_obtaining":
		if renewal && engine != nil {
			return engine.remember(ctx, issuer, name)
		}
	case "cert_obtained":
		m.log.Info("certificate", "name", name, "issuer", issuer, "renewed", renewal)
		if renewal {
			m.noteRenewal(name, nil)
		}
		if renewal && engine != nil {
			if err := engine.forget(ctx, issuer, name); err != nil {
				m.log.Warn("the key of a former certificate is left", "name", name, "cause", err)
			}
		}
	case "cert_failed":
		if err, _ := data["error"].(error); renewal && err != nil && m.noteRenewal(name, bare(err)) {
			m.log.Warn("not renewed", "name", name, "cause", bare(err))
		}
	}
	return nil
}

// noteRenewal remembers how a renewal went; false where nobody wants the name
// any more.
func (m *Manager) noteRenewal(name string, err error) bool {
	m.mu.Lock()
	k := m.keeperOf(name)
	m.mu.Unlock()
	if k != nil {
		k.note(err)
	}
	return k != nil
}

// keepersNow are all keepers, by name.
func (m *Manager) keepersNow() []*keeper {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Collect(maps.Values(m.keepers))
	all = slices.AppendSeq(all, maps.Values(m.demand.keepers))
	slices.SortFunc(all, func(a, b *keeper) int { return strings.Compare(a.subject.Name, b.subject.Name) })
	return all
}
