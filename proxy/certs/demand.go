package certs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

var errNotWritten = errors.New("the name is not one of ours")

// demand has the keepers of names that nobody has written down and a client
// has asked for. All of it is bounded, as strangers choose the names.
type demand struct {
	keepers map[string]*keeper
	refused map[string]time.Time // by the allow-list, until when it is not asked again
	asking  map[string]chan struct{}
}

const (
	mostDemanded  = 10_000 // names, and names that were refused
	mostAddresses = 64     // of them, addresses of this host
	mostPending   = 64     // of them, those without a certificate yet
	mostAsking    = 64     // questions to the allow-list at once
	refusedFor    = time.Minute
	askWithin     = 5 * time.Second
)

// forget stops all.
func (d *demand) forget() {
	for _, k := range d.keepers {
		k.stop()
	}
	*d = demand{}
}

// order gives the keeper of a name, a new one where it may be had.
func (m *Manager) order(ctx context.Context, name string) (*keeper, error) {
	_, err := netip.ParseAddr(name)
	isAddr := err == nil
	m.mu.Lock()
	if k := m.keeperOf(name); k != nil {
		m.mu.Unlock()
		return k, nil
	}
	e, d := m.engine, &m.demand
	switch {
	case e == nil:
		m.mu.Unlock()
		return nil, errNotWritten
	case isAddr:
		defer m.mu.Unlock()
		return m.start(name, mostAddresses)
	case e.settings.Ask == "" || len(name) > 253:
		m.mu.Unlock()
		return nil, fmt.Errorf("%q: %w", name, errNotWritten)
	case time.Now().Before(d.refused[name]):
		m.mu.Unlock()
		return nil, fmt.Errorf("%q: the allow-list has refused it", name)
	case d.asking[name] != nil:
		answered := d.asking[name]
		m.mu.Unlock()
		select {
		case <-answered:
			return m.order(ctx, name)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case len(d.asking) >= mostAsking:
		m.mu.Unlock()
		return nil, fmt.Errorf("%q: too many questions to the allow-list at once", name)
	}
	answered := make(chan struct{})
	if d.asking == nil {
		d.asking = map[string]chan struct{}{}
	}
	d.asking[name] = answered
	m.mu.Unlock()

	err = e.ask(ctx, name)

	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(answered)
	delete(m.demand.asking, name)
	if m.engine != e {
		return nil, errNotWritten // a reload came in between
	}
	if err != nil {
		if len(d.refused) >= mostDemanded || d.refused == nil {
			d.refused = map[string]time.Time{}
		}
		d.refused[name] = time.Now().Add(refusedFor)
		return nil, err
	}
	return m.start(name, mostDemanded)
}

// start starts a keeper for a name, unless there are too many. m.mu is held.
func (m *Manager) start(name string, most int) (*keeper, error) {
	d := &m.demand
	pending := 0
	for _, k := range d.keepers {
		if !k.isReady() {
			pending++
		}
	}
	if len(d.keepers) >= most || pending >= mostPending {
		return nil, fmt.Errorf("%q: too many names were asked for", name)
	}
	if d.keepers == nil {
		d.keepers = map[string]*keeper{}
	}
	k := m.keep(Subject{Name: name})
	d.keepers[name] = k
	return k, nil
}

func (k *keeper) isReady() bool {
	select {
	case <-k.ready:
		return true
	default:
		return false
	}
}

// ask asks the allow-list.
func (e *engine) ask(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	u, err := url.Parse(e.settings.Ask)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("domain", name)
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%q: the allow-list cannot be asked: %w", name, err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, 4096))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%q: the allow-list refuses it with status %d", name, answer.StatusCode)
	}
	return nil
}
