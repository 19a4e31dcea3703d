package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"genkan/proxy/certs"
	"genkan/proxy/datagram"
	"genkan/proxy/pipe"
)

// A Server is the door: it owns the listeners and all that goes through them.
// Its life is New, Listen, Serve; Close undoes Listen where Serve never ran.
// The zero Server is not usable.
type Server struct {
	log   *slog.Logger
	state atomic.Pointer[state]
	ids   atomic.Uint64 // of connections
	conns *tracker
	gate  *gate
	pipe  *pipe.Engine
	web   *webEngine
	certs *certs.Manager
	stats *counters
	bites bites
	deny  *denyLog

	hashing hashing

	steering steering

	unreachable unreachable

	entering sync.WaitGroup // arrivals that have to read before they are somebody's

	mu    sync.Mutex // guards the fields below, and lets one Apply at a time
	pools poolSet
	logs  logSet
	doors map[endpoint]*door

	inherited inheritance     // until Listen
	serving   context.Context // of Serve; nil before
	ended     bool            // no door may be opened any more
	udp       *datagram.Loops // nil until there is a UDP listener
	running   sync.WaitGroup  // keepers of UDP listeners
	parcels   []Parcel        // of the older process, until a listener takes them
	leaving   bool            // another process goes on
	started   chan struct{}   // closed by Serve
}

// New checks cfg, wholly, and makes a Server that does not listen yet. It
// opens nothing. The error joins all faults.
func New(cfg Config) (*Server, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log:   log,
		stats: newCounters(),
		deny:  newDenyLog(log),

		hashing: newHashing(),
		certs:   certs.NewManager(log),
		doors:   map[endpoint]*door{},
		pools:   poolSet{log: log, open: map[string]*openPool{}},

		started: make(chan struct{}),
	}
	st, err := s.build(cfg)
	if err != nil {
		return nil, err
	}
	s.conns = newTracker(&s.ids)
	s.gate = &gate{limit: int64(st.maxConns), full: s.logFull(), listeners: map[*pipe.Listener]bool{}}
	s.web = newWebEngine(s, st)
	s.state.Store(st)
	return s, nil
}

// Listen opens all listeners or none. An error names each that could not be
// opened and who has it.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.Load()
	if err := errors.Join(s.pools.prepare(st), s.logs.prepare(st)); err != nil {
		return errors.Join(err, s.endPools())
	}
	opened, err := s.open(st)
	s.closeRest()
	if err != nil {
		return errors.Join(err, s.endPools())
	}
	for _, d := range opened {
		s.doors[d.endpoint] = d
	}
	return nil
}

// open opens what st wants and is not open yet, all or nothing.
// s.mu is held.
func (s *Server) open(st *state) ([]*door, error) {
	var opened []*door
	var errs []error
	for e, svc := range st.services {
		if s.doorOf(e) != nil || slices.ContainsFunc(opened, func(d *door) bool { return d.covers(e) }) {
			continue
		}
		d, err := s.inherited.take(e), error(nil)
		if d == nil {
			d, err = openDoor(e)
		} else if d.dual {
			s.log.Warn("inherited socket takes IPv4 and IPv6; better write BindIPv6Only=ipv6-only into the socket unit", "listener", d.endpoint.String())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("listen %q: %w", svc.listen, err))
			continue
		}
		opened = append(opened, d)
	}
	if len(errs) == 0 {
		noteAbsent(s.log, opened)
		return opened, nil
	}
	for _, d := range opened {
		d.close()
	}
	return nil, sortedJoin(errs)
}

// Serve takes clients until ctx ends; then it closes the listeners, lets what
// is open finish for Timeouts.Drain, and cuts the rest. It returns when
// nothing that it started is left. The error is nil after an end by ctx.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	if s.ended || s.serving != nil {
		s.mu.Unlock()
		return errors.New("proxy: Serve needs a new Server")
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	engine, err := pipe.New(pipe.Config{Log: s.log})
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("proxy: %w", err)
	}
	if err := s.web.start(running); err != nil {
		engine.Close()
		s.mu.Unlock()
		return fmt.Errorf("proxy: %w", err)
	}
	s.pipe = engine
	s.serving = running
	s.state.Load().start(running, s.probeFrom, lookupSystem)
	for _, d := range s.doors {
		s.run(d)
	}
	s.closeParcels()
	close(s.started)
	var following sync.WaitGroup
	s.startCerts(&following)
	s.mu.Unlock()

	<-ctx.Done()
	s.closeDoors()
	s.running.Wait()
	s.drain()
	stop()
	following.Wait()
	s.certs.Close()
	s.pipe.Close()
	s.closeUDP()
	s.unreachable.close()
	s.state.Load().stop(nil)
	return s.closePools()
}

// Close closes the listeners of a Server that was not served. It may be
// called at any time and any number of times.
func (s *Server) Close() error {
	s.closeDoors()
	if s.served() {
		return nil // Serve closes the rest
	}
	return s.closePools()
}

func (s *Server) served() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving != nil
}

func (s *Server) leaves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

func (s *Server) closeUDP() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.udp != nil {
		s.udp.Close()
	}
}

func (s *Server) closePools() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endPools()
}

// endPools closes the pools and access logs. s.mu is held.
func (s *Server) endPools() error {
	s.logs.keep(&state{})
	if s.leaving {
		return s.pools.leave()
	}
	return s.pools.close()
}

func (s *Server) closeDoors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	st := s.state.Load()
	for e, d := range s.doors {
		// A QUIC connection has no socket of its own: drain closes the door.
		if svc := st.services[e]; svc == nil || !svc.http3 || s.serving == nil {
			s.shut(d)
		}
		delete(s.doors, e)
	}
}

// drain waits for connections to end, and cuts them at the deadline.
func (s *Server) drain() {
	limit := s.state.Load().timeouts.Drain
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var quic sync.WaitGroup
	grace := time.Duration(0)
	if s.leaves() {
		grace = retireFor
	}
	quic.Go(func() { s.web.drainQUIC(ctx, grace) })
	if s.leaves() {
		s.retire(ctx)
	}
	s.web.shutdown()
	if cut := s.conns.drain(ctx); cut > 0 {
		s.log.Warn("connections cut at the stop", "connections", cut, "waited", time.Since(began).Round(time.Millisecond))
	}
	s.entering.Wait()
	quic.Wait()
	s.web.close()
}

// A Port is a listener as the tunnel's filter wants it.
type Port struct {
	Proto       string // "tcp" or "udp"
	First, Last uint16
}

// Ports gives the ports that clients may come to through the tunnel: those of
// the tunnel's address and of the IPv6 wildcard, in no order.
func (s *Server) Ports() []Port {
	st := s.state.Load()
	seen := map[Port]bool{}
	var ports []Port
	for e := range st.services {
		ip := e.addr.Addr()
		if !ip.Is6() || !ip.IsUnspecified() && ip != st.tunnel.Netip() {
			continue
		}
		if p := (Port{e.network, e.addr.Port(), e.addr.Port()}); !seen[p] {
			seen[p] = true
			ports = append(ports, p)
		}
	}
	return ports
}

// Addrs gives the addresses that are listened on, with the ports that the
// system chose for port 0.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []net.Addr
	for _, d := range s.doors {
		addrs = append(addrs, d.addr())
	}
	return addrs
}

// An endpoint is one socket that is listened on. IPv6 ones are IPv6 only.
type endpoint struct {
	network string // "tcp" or "udp"
	addr    netip.AddrPort
}

func (e endpoint) String() string { return e.network + "/" + e.addr.String() }

// probeFrom gives what connects to backends for checks: from the address of a
// pool that is nobody's, or from this machine's own.
func (s *Server) probeFrom(poolName string) dialFunc {
	return func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		st := s.state.Load()
		from := source{}
		if p := st.pools[poolName]; p != nil {
			from.addr = p.Probe()
		}
		return st.guard.dialTCP(ctx, to, from)
	}
}
