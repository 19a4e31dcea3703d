package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"genkan/acl"
)

// A group is the backends of one site or forward: who is well, who is next.
// It is safe for concurrent use and lives on over a reload that does not
// change it.
type group struct {
	config  groupConfig
	log     *slog.Logger
	members []*member
	next    atomic.Uint32 // of round-robin

	stop func() // ends the goroutines of start; nil before
	done sync.WaitGroup
}

// groupConfig is what makes two groups the same.
type groupConfig struct {
	to []Backend
	groupTraits
}

// groupTraits are what of a groupConfig == compares.
type groupTraits struct {
	name     string // of the site or forward
	key      string // "site" or "forward", as the log has it
	offset   uint16 // into the port ranges of to
	balance  Balance
	check    Check
	maxConns int
	dial     time.Duration
	// probeFrom is the pool whose probe address checks come from. Empty: this
	// machine's own.
	probeFrom string
	// scheme and trust say how the backends are spoken to, and what they prove.
	scheme string
	trust  backendTrust
	// transparent: clients come from their own addresses.
	transparent bool
	// preamble is what a check sends first, of nobody's behalf, where the
	// backend wants a PROXY header.
	preamble string
}

// comesFrom says from which addresses clients come. Checks come from the pool
// too: sshd's penalties for them then do not hit this machine's address.
func (c *groupConfig) comesFrom(kind Source, pool string) {
	if kind == SourcePool {
		c.probeFrom = pool
	}
	c.transparent = kind == SourceTransparent
}

// groupID is what makes two groups of two states one and the same.
type groupID struct {
	key, name string
	offset    uint16
}

// A member is one backend.
type member struct {
	text   string // as configured, with the port of this group
	scheme string
	tls    *tls.Config // what the backend proves; nil: it speaks plain
	port   uint16
	addrs  atomic.Pointer[[]netip.Addr] // last good answer; never empty once there

	open     atomic.Int64 // connections
	total    atomic.Int64
	failures atomic.Int64

	steered atomic.Pointer[Steering] // never nil

	doubted atomic.Bool // one of the three first fields below is not zero

	mu      sync.Mutex // guards the fields below
	streak  int        // failed connects in a row
	ejected time.Time  // not before this moment again
	checked bool       // down by active checks
	passes  int        // active checks in a row that went as lastOK says
	lastOK  bool
}

// Passive ejection: so many failed connects in a row take a backend out for
// so long. It is tried again by one client; the others keep what works.
const (
	ejectAfter = 3
	ejectFor   = 5 * time.Second
)

func newGroup(config groupConfig, log *slog.Logger) *group {
	g := &group{config: config, log: log.With(config.key, config.name)}
	for _, to := range config.to {
		m := &member{port: to.Port, scheme: to.Scheme}
		m.steered.Store(&Steering{State: BackendActive, Weight: 1})
		if to.PortEnd > to.Port {
			m.port += config.offset
		}
		m.text = Backend{Scheme: to.Scheme, Addr: to.Addr, Name: to.Name, Port: m.port}.String()
		g.secure(m, to)
		if to.Addr.IsValid() {
			m.addrs.Store(&[]netip.Addr{to.Addr.Netip()})
		}
		g.members = append(g.members, m)
	}
	return g
}

func (c groupConfig) equal(other groupConfig) bool {
	return c.groupTraits == other.groupTraits && slices.Equal(c.to, other.to)
}

var (
	errNoBackend = errors.New("no backend is left to try")
	errDown      = errors.New("down, say its checks")
	errSteered   = errors.New("taken out by the operator")
	errFull      = errors.New("at max_conns")
	errUnknown   = errors.New("name not resolved yet")
)

// A lease is one use of a backend. Whoever got it calls done once.
type lease struct {
	*member
	addr netip.AddrPort
}

func (l *lease) done() { l.open.Add(-1) }

// pick chooses a backend for client, none of tried. It takes one that is
// ejected only where all are: an answer late is better than none. Its error
// says of each backend why it was not that one.
func (g *group) pick(client acl.Addr, tried []*member) (*lease, error) {
	l := &lease{}
	if err := g.pickInto(l, client, tried); err != nil {
		return nil, err
	}
	return l, nil
}

// pickInto is pick into a lease that is there already.
func (g *group) pickInto(l *lease, client acl.Addr, tried []*member) error {
	var reasons []error
	for _, wellOnly := range []bool{true, false} {
		for _, m := range g.order(client) {
			if slices.Contains(tried, m) || m.isWell() != wellOnly {
				continue
			}
			err := g.take(l, m)
			if err == nil {
				return nil
			}
			reasons = append(reasons, fmt.Errorf("backend %s: %w", m.text, err))
		}
	}
	if reasons == nil {
		return errNoBackend
	}
	return joinOnLine(reasons)
}

// take makes l one of m, if that may be had.
func (g *group) take(l *lease, m *member) error {
	addrs := m.addrs.Load()
	switch {
	case m.steered.Load().State != BackendActive:
		return errSteered
	case m.isDown():
		return errDown
	case addrs == nil:
		return errUnknown
	}
	if n := m.open.Add(1); g.config.maxConns > 0 && n > int64(g.config.maxConns) {
		m.open.Add(-1)
		return errFull
	}
	m.tried(g.config.dial)
	n := m.total.Add(1)
	ip := (*addrs)[int(n)%len(*addrs)]
	*l = lease{m, netip.AddrPortFrom(ip, m.port)}
	return nil
}

// order gives the members in the order in which they are to be tried.
func (g *group) order(client acl.Addr) []*member {
	n := len(g.members)
	if n == 1 {
		return g.members
	}
	if g.config.balance == BalanceHash {
		return g.rendezvous(client)
	}
	first := g.turn(n) // with BalanceLeast, equals take turns
	order := append(slices.Clone(g.members[first:]), g.members[:first]...)
	if g.config.balance == BalanceLeast {
		slices.SortStableFunc(order, func(a, b *member) int { return cmp.Compare(a.open.Load()*b.weight(), b.open.Load()*a.weight()) })
	}
	return order
}

// rendezvous orders the members by a hash of member and client, so that a
// client keeps its backend, and finds the same next one when that is out.
// IPv6 clients count by /64: that is one customer. The hash is the same after a
// restart and on every front: sessions that a backend keeps depend on it. The
// heavier member has the more clients (weighted rendezvous: -w/ln u is the
// greatest for each with a chance of w).
func (g *group) rendezvous(client acl.Addr) []*member {
	key := client.Netip()
	if key.Is6() {
		p, _ := key.Prefix(64)
		key = p.Addr()
	}
	scores := make(map[*member]float64, len(g.members))
	for _, m := range g.members {
		u := (float64(weigh(m.text, key)>>11) + 0.5) / (1 << 53)
		scores[m] = -float64(m.weight()) / math.Log(u)
	}
	return slices.SortedStableFunc(slices.Values(g.members), func(a, b *member) int {
		return cmp.Compare(scores[b], scores[a])
	})
}

// weigh hashes a backend with a client: FNV-1a, and MurmurHash3's finalizer,
// without which backends with similar names would share few clients.
func weigh(backend string, client netip.Addr) uint64 {
	h := uint64(14695981039346656037)
	add := func(c byte) { h = (h ^ uint64(c)) * 1099511628211 }
	for i := range len(backend) {
		add(backend[i])
	}
	for _, c := range client.As16() {
		add(c)
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// connect opens a connection for client: it tries the backends one after the
// other, as long as ctx and none answers. Nothing was sent to those that
// failed. The error says for each what it answered and after how long.
func (g *group) connect(ctx context.Context, client acl.Addr, dial dialFunc) (*net.TCPConn, *lease, error) {
	var tried []*member
	var errs []error
	for range g.members {
		l, err := g.pick(client, tried)
		if err != nil {
			errs = append(errs, err)
			break
		}
		began := time.Now()
		one, cancel := context.WithTimeout(ctx, g.config.dial)
		conn, err := dial(one, l.addr)
		cancel()
		if err == nil {
			l.succeeded()
			return conn, l, nil
		}
		l.done()
		if ctx.Err() != nil {
			errs = append(errs, fmt.Errorf("backend %s: client gone after %s", l.text, since(began)))
			break
		}
		g.failed(l.member, err)
		errs = append(errs, fmt.Errorf("backend %s: %w after %s", l.text, cause(err), since(began)))
		tried = append(tried, l.member)
	}
	return nil, nil, joinOnLine(errs)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(time.Millisecond / 10) }

// cause takes away what package net and the pipe engine wrap around the
// system's error: the address and the time, which our lines have already.
func cause(err error) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer")
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

type lineErrors []error

func joinOnLine(errs []error) error { return lineErrors(errs) }

func (e lineErrors) Error() string {
	text := ""
	for i, err := range e {
		if i > 0 {
			text += "; "
		}
		text += err.Error()
	}
	return text
}

func (e lineErrors) Unwrap() []error { return e }
