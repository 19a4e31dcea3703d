package proxy

import (
	"context"
	"net"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/http1"
	"genkan/proxy/message"
	"genkan/proxy/pipe"
	"genkan/proxy/sweep"
)

// A webEngine serves the sites over HTTP. The protocol is packages http1 and
// exchange; what is decided is in site.go and judge.go.
type webEngine struct {
	server    *Server
	sweeper   *sweep.Sweeper
	front     *http1.Server
	transport *http1.Transport

	stop    context.CancelFunc // ends sweeping; nil before start
	done    sync.WaitGroup     // sweeping
	serving sync.WaitGroup     // connections
}

func newWebEngine(s *Server, t Timeouts) *webEngine {
	w := &webEngine{server: s, sweeper: sweep.New()}
	w.front = http1.NewServer(http1.Config{
		FirstByte:   2 * t.Header,
		HeadTimeout: t.Header,
		IdleTimeout: t.KeepIdle,
		Sweeper:     w.sweeper,
		Relay:       w.relay,
		Refused:     w.refused,
	})
	w.transport = http1.NewTransport(http1.TransportConfig{
		Dial: func(ctx context.Context, to http1.Target) (net.Conn, error) {
			return s.state.Load().guard.dialTCP(ctx, to.Addr, source{addr: to.Source, transparent: to.Transparent})
		},
		DialTimeout: t.Dial,
		HeadTimeout: t.Request,
		Sweeper:     w.sweeper,
	})
	return w
}

// expireEvery is how often unused backend connections are looked through.
const expireEvery = 5 * time.Second

func (w *webEngine) start(ctx context.Context) {
	ctx, w.stop = context.WithCancel(ctx)
	w.done.Go(func() { w.sweeper.Run(ctx) })
	w.done.Go(func() {
		ticker := time.NewTicker(expireEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				w.transport.Expire()
			}
		}
	})
}

// take gives an arrival to the engine.
func (w *webEngine) take(a *arrival) {
	from := message.Source{
		Client:     acl.Client{Addr: a.addr(), Tunnel: a.tunnel},
		ClientPort: a.client.Port(),
		Local:      a.local,
	}
	h := &exchange.Handler{Policy: &visit{arrival: a, sites: w}, Transport: w.transport}
	conn := w.front.NewConn(a.conn, nil, from, h)
	one := &stream{client: a.addr()}
	one.cutWith(conn.Cut)
	a.server.conns.add(one)
	w.serving.Go(func() {
		defer a.server.conns.release()
		defer a.server.conns.remove(one)
		conn.Serve()
	})
}

// shutdown lets requests finish; connections that wait for one end.
func (w *webEngine) shutdown() { w.front.Drain() }

// close cuts what is left and waits for it.
func (w *webEngine) close() {
	w.front.Cut()
	w.serving.Wait()
	w.transport.CloseIdle()
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
		Idle: w.server.state.Load().timeouts.Idle,
		Done: func(pipe.Result) { close(ended) },
	})
	<-ended
}

// refused logs bytes that were no request, for whoever looks for them: any
// scanner sends some.
func (w *webEngine) refused(from message.Source, status int, err error) {
	w.server.log.Debug("no request", "client", from.Client.Addr, "status", status, "cause", err)
}
