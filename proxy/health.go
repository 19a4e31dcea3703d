package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// isWell tells that m may be chosen without hesitation now.
func (m *member) isWell() bool {
	if !m.doubted.Load() {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.checked && !time.Now().Before(m.ejected)
}

// doubt notes whether anything is known against m, so that requests need not
// take turns at mu to find out that there is not. m.mu is held.
func (m *member) doubt() { m.doubted.Store(m.checked || m.streak > 0 || !m.ejected.IsZero()) }

// isDown tells that active checks have found m down.
func (m *member) isDown() bool {
	if !m.doubted.Load() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.checked
}

// isEjected tells that connects to m failed, and that it is spared at now.
func (m *member) isEjected(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.ejected)
}

// succeeded is told that a client's connection came about.
func (m *member) succeeded() {
	if !m.doubted.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streak, m.ejected = 0, time.Time{}
	m.doubt()
}

// tried is told that a client goes to m now. Where m was ejected, the others
// keep what works until it is known how that one fares, or would have to be.
func (m *member) tried(within time.Duration) {
	if !m.doubted.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streak >= ejectAfter {
		m.ejected = time.Now().Add(within)
	}
}

// isOurs tells that a connection failed of what this machine lacks: descriptors,
// memory, ports. That says nothing about the backend.
func isOurs(err error) bool {
	for _, errno := range [...]unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// failed is told that a client's connection did not come about.
func (g *group) failed(m *member, err error) {
	m.failures.Add(1)
	if isOurs(err) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.doubt()
	m.streak++
	if m.streak < ejectAfter {
		return
	}
	if m.streak == ejectAfter && len(g.members) > 1 {
		g.log.Warn("backend ejected", "backend", m.text, "failures", m.streak, "for", ejectFor, "cause", cause(err))
	}
	m.ejected = time.Now().Add(ejectFor)
}

// start runs the active checks and the name resolution until stopped or until
// ctx ends. dial makes the connections of checks.
func (g *group) start(ctx context.Context, dial dialFunc, lookup lookupFunc) {
	if g.stop != nil {
		return
	}
	ctx, g.stop = context.WithCancel(ctx)
	for i, m := range g.members {
		if name := g.config.to[i].Name; name != "" {
			g.done.Go(func() { g.resolve(ctx, m, name, lookup) })
		}
		if g.config.check.Interval > 0 {
			g.done.Go(func() { g.watch(ctx, m, dial) })
		}
	}
}

// close ends what start began, and waits for it.
func (g *group) close() {
	if g.stop != nil {
		g.stop()
		g.done.Wait()
	}
}

// watch checks m over and over.
func (g *group) watch(ctx context.Context, m *member, dial dialFunc) {
	ticker := time.NewTicker(g.config.check.Interval)
	defer ticker.Stop()
	for {
		addrs := m.addrs.Load()
		if addrs != nil && m.steered.Load().State != BackendDisabled {
			err := g.checkOnce(ctx, m, netip.AddrPortFrom((*addrs)[0], m.port), dial)
			if ctx.Err() != nil {
				return
			}
			g.note(m, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// note counts one result, and changes the backend's state after Rise
// successes or Fall failures in a row.
func (g *group) note(m *member, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.doubt()
	if ok := err == nil; ok != m.lastOK {
		m.passes, m.lastOK = 0, ok
	}
	m.passes++
	switch {
	case err == nil && m.checked && m.passes >= g.config.check.Rise:
		m.checked, m.streak, m.ejected = false, 0, time.Time{}
		g.log.Info("backend is well again", "backend", m.text)
	case err != nil && !m.checked && m.passes >= g.config.check.Fall:
		m.checked = true
		g.log.Warn("backend is down", "backend", m.text, "failures", m.passes, "cause", cause(err))
	}
}

// maxAnswer bounds what a check reads in search of Expect.
const maxAnswer = 16 << 10

// checkOnce makes one check of a backend.
func (g *group) checkOnce(ctx context.Context, m *member, to netip.AddrPort, dial dialFunc) error {
	c := g.config.check
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	conn, err := dial(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if hello := g.config.preamble + c.Send; hello != "" {
		if _, err := conn.Write([]byte(hello)); err != nil {
			return err
		}
	}
	if c.Path != "" {
		return g.checkHTTP(ctx, m, conn)
	}
	answer := make([]byte, 0, 1024)
	for c.Expect != "" && !bytes.Contains(answer, []byte(c.Expect)) {
		if len(answer) >= maxAnswer {
			return fmt.Errorf("answer lacks %q in its first %d bytes", c.Expect, maxAnswer)
		}
		chunk := make([]byte, 1024)
		n, err := conn.Read(chunk)
		answer = append(answer, chunk[:n]...)
		if err != nil && n == 0 {
			return fmt.Errorf("answer %.80q lacks %q", answer, c.Expect)
		}
	}
	return nil
}
