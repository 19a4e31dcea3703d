package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"genkan/acl"
	"genkan/proxy/accesslog"
	"genkan/proxy/exchange"
	"genkan/proxy/fiber"
	"genkan/proxy/http1"
	"genkan/proxy/http2"
	"genkan/proxy/message"
	"genkan/proxy/pipe"
	"genkan/proxy/pressure"
	"genkan/proxy/sweep"
)

// A webEngine serves the sites over HTTP. The protocol is packages http1 and
// exchange; what is decided is in site.go and judge.go.
type webEngine struct {
	server    *Server
	sweeper   *sweep.Sweeper
	front     *http1.Server
	front2    *http2.Server
	transport *http1.Transport
	multiplex *http2.Transport // to backends that speak HTTP/2

	stop    context.CancelFunc // ends sweeping; nil before start
	done    sync.WaitGroup     // sweeping
	serving sync.WaitGroup     // connections

	loops []*fiber.Loop // of all connections
	next  atomic.Uint32

	crowd    crowd
	pressure *pressure.Gauge
	overQUIC *tracker // its connections: they end by another way

	mu     sync.Mutex // guards what follows
	quic   map[*quicDoor]bool
	ending bool // no more of them
}

func newWebEngine(s *Server, st *state) *webEngine {
	t, l := st.timeouts, st.config.Limits
	w := &webEngine{
		server: s, sweeper: sweep.New(), quic: map[*quicDoor]bool{}, overQUIC: newTracker(&s.ids),
		crowd:    crowd{each: l.ClientConns, open: map[netip.Prefix]int{}},
		pressure: pressure.New(uint64(l.Memory), s.log),
	}
	w.front = http1.NewServer(http1.Config{
		FirstByte: 2 * t.Header, HeadTimeout: t.Header, IdleTimeout: t.KeepIdle, Lifetime: t.Lifetime,
		BodyIdle: t.Body, BodyGrace: t.BodyGrace, WriteTimeout: t.Write,
		MaxHead: l.HeaderBytes, MaxLine: l.LineBytes, MaxFields: l.HeaderFields, BodyRate: int64(l.BodyRate),
		Sweeper: w.sweeper, Relay: w.relay, Preface: w.preface, Refused: w.refused,
		Pressure: w.pressure, Bite: s.bites.bite,
	})
	w.front2 = http2.NewServer(http2.Config{
		FirstByte: 2 * t.Header, HeadTimeout: t.Header, IdleTimeout: t.KeepIdle, Lifetime: t.Lifetime,
		BodyIdle: t.Body, BodyGrace: t.BodyGrace, WriteTimeout: t.Write,
		MaxHead: uint32(l.HeaderBytes), MaxLine: l.LineBytes, MaxFields: l.HeaderFields, BodyRate: int64(l.BodyRate),
		MaxStreams: uint32(l.Streams), MaxControl: l.ControlFrames, MaxAborts: l.Aborts,
		Sweeper: w.sweeper, Relay: w.relay, Refused: w.refused,
		Pressure: w.pressure, Bite: s.bites.bite,
	})
	to := http1.TransportConfig{
		Dial: func(ctx context.Context, to http1.Target) (net.Conn, error) {
			return s.state.Load().guard.dialTCP(ctx, to.Addr, source{addr: to.Source, transparent: to.Transparent})
		},
		DialTimeout: t.Dial,
		HeadTimeout: t.Request,
		Sweeper:     w.sweeper,
	}
	w.transport, w.multiplex = http1.NewTransport(to), http2.NewTransport(to)
	return w
}

// expireEvery is how often unused backend connections are looked through.
const expireEvery = 5 * time.Second

func (w *webEngine) start(ctx context.Context) error {
	if err := w.startLoops(); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.done.Go(func() { w.sweeper.Run(ctx) })
	w.done.Go(func() { w.pressure.Run(ctx, w.relieve()) })
	w.done.Go(func() {
		ticker := time.NewTicker(expireEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				w.transport.Expire()
				w.multiplex.Expire()
			}
		}
	})
	return nil
}

// startLoops starts an event loop per core. Busy loops keep their processor of
// the scheduler's, so there have to be some for everybody else, and for the
// loops of package pipe.
func (w *webEngine) startLoops() error {
	n := runtime.NumCPU()
	for range n {
		loop, err := fiber.New()
		if err != nil {
			w.endLoops()
			return fmt.Errorf("event loop: %w", err)
		}
		w.loops = append(w.loops, loop)
		w.done.Go(loop.Run)
	}
	if want := 2*n + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	return nil
}

func (w *webEngine) endLoops() {
	for _, loop := range w.loops {
		loop.Close()
	}
}

// take gives an arrival to the engine.
func (w *webEngine) take(a *arrival) {
	leave, ok := w.admit(a.svc, a.addr())
	if !ok {
		a.refuse()
		return
	}
	one := &stream{client: a.addr(), network: "tcp"}
	ended := func() {
		leave()
		a.server.conns.remove(one)
		a.server.gate.leave()
		w.serving.Done()
	}
	if a.svc.tlsConfig == nil || !a.svc.slow {
		if !w.serveOnLoop(a, one, ended) {
			leave()
		}
		return
	}
	if !a.take() {
		leave()
		return
	}
	one.cutWith(func() { reset(a.conn) })
	a.server.conns.add(one)
	w.serving.Add(1)
	go func() {
		if !w.serve(a, one, ended) {
			ended()
		}
	}()
}

// serveOnLoop gives a connection to one of the loops. It is false where
// the connection is gone.
func (w *webEngine) serveOnLoop(a *arrival, one *stream, ended func()) bool {
	loop := w.loop()
	var conn *fiber.Conn
	if raw := a.raw; raw != nil {
		a.raw = nil
		conn = loop.TakeFD(raw.TakeFD(), a.local, a.peer)
	} else {
		var err error
		if conn, err = loop.Take(a.conn); err != nil {
			w.server.log.Warn("connection refused", "client", a.addr(), "cause", err)
			a.server.gate.leave()
			return false
		}
	}
	a.server.conns.add(one)
	w.serving.Add(1)
	if a.svc.tlsConfig != nil {
		w.shakeOnLoop(a, one, conn, ended)
		return true
	}
	c := w.front.NewConn(conn, nil, a.source(), w.handler(a, one))
	one.cutWith(c.Cut)
	c.Start(ended)
	return true
}

// source is the arrival as package message knows it.
func (a *arrival) source() message.Source {
	return message.Source{
		Client:     acl.Client{Addr: a.addr(), Tunnel: a.tunnel},
		ClientPort: a.client.Port(),
		Local:      a.local,
	}
}

// handler is what an arrival's requests are handled by; one is nil where a connection has many arrivals.
func (w *webEngine) handler(a *arrival, one *stream) *exchange.Handler {
	return &exchange.Handler{
		Policy: &visit{arrival: a, sites: w, stream: one}, Underscores: a.state.config.Underscores,
		Transport: w.transport, HTTP2: w.multiplex, Idle: a.state.timeouts.Idle,
		Pressure: w.pressure, Bite: w.server.bites.bite,
	}
}

// serve makes a connection TLS, and gives it to a loop, which calls ended. It is
// false where the connection is gone.
func (w *webEngine) serve(a *arrival, one *stream, ended func()) bool {
	from := a.source()
	swap := &fiber.Swap{Conn: a.conn}
	session, err := w.handshake(a, swap, &from)
	if err != nil {
		w.server.log.Debug("no TLS", "client", from.Client.Addr, "cause", err)
		a.conn.Close()
		return false
	}
	conn, err := w.loop().Take(a.conn)
	if err != nil {
		w.server.log.Warn("connection refused", "client", a.addr(), "cause", err)
		return false
	}
	w.serveSession(a, one, session, swap, conn, from, ended)
	return true
}

// serveSession serves the requests of a TLS session that goes on over conn.
func (w *webEngine) serveSession(a *arrival, one *stream, session *tls.Conn, swap *fiber.Swap, conn *fiber.Conn, from message.Source, ended func()) {
	h := w.handler(a, one)
	if session.ConnectionState().NegotiatedProtocol == "h2" {
		c := w.front2.NewSecureConn(session, swap, conn, nil, from, h)
		one.cutWith(c.Cut)
		c.Start(ended)
		return
	}
	swap.Conn = conn
	c := w.front.NewSecureConn(session, swap, from, h)
	one.cutWith(c.Cut)
	c.Start(ended)
}

// loop is the loop whose turn it is.
func (w *webEngine) loop() *fiber.Loop { return w.loops[int(w.next.Add(1))%len(w.loops)] }

// preface serves a client that speaks HTTP/2 by prior knowledge.
func (w *webEngine) preface(o http1.Handover) {
	if o.Session == nil {
		w.front2.NewConn(o.Conn, o.Read, o.Source, o.Handler).Start(o.Done)
		return
	}
	w.front2.NewSecureConn(o.Session, o.Swap, o.Conn, o.Read, o.Source, o.Handler).Start(o.Done)
}

// shutdown lets requests finish; connections that wait for one end.
func (w *webEngine) shutdown() {
	w.front.Drain()
	w.front2.Drain()
}

// retire asks the clients to go to another process with their next requests.
func (w *webEngine) retire() {
	w.front.Retire()
	w.front2.Retire()
}

// close cuts what is left and waits for it.
func (w *webEngine) close() {
	w.front.Cut()
	w.front2.Cut()
	w.serving.Wait()
	w.transport.CloseIdle()
	w.multiplex.CloseIdle()
	w.endLoops()
	w.stop()
	w.done.Wait()
}

// relay moves the bytes of a websocket until it ends.
func (w *webEngine) relay(client net.Conn, early []byte, backend net.Conn, answer []byte) {
	ended := make(chan struct{})
	if len(answer) > 0 {
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
	w.server.pipe.Relay(client, backend, pipe.Options{
		Head: early,
		Idle: w.server.state.Load().timeouts.Idle, Lifetime: w.server.state.Load().timeouts.Lifetime,
		Done: func(pipe.Result) { close(ended) },
	})
	<-ended
}

// refused logs bytes that were no request, for whoever looks for them: any
// scanner sends some.
func (w *webEngine) refused(from message.Source, status int, err error) {
	w.server.log.Debug("no request", "client", from.Client.Addr, "status", status, "cause", err)
	w.server.state.Load().accessLog.Write(&accesslog.Entry{
		Began: time.Now(), Client: from.Client.Addr, Port: from.ClientPort, Tunnel: from.Client.Tunnel, TLS: from.TLS,
		Status: status, Cause: err.Error(),
	})
}
