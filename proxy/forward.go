package proxy

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/pipe"
	"genkan/proxy/pool"
	"genkan/proxy/sni"
)

// A flow is one client's way through a forward: from the verdict to the close.
type flow struct {
	*arrival
	forward *forward
	group   *group
	verdict acl.Verdict
	head    []byte // what the backend gets first: the announcement
	id      []byte // unique, announced by proxy-v2; nil: none
	source  source
	pooled  *pool.Lease // nil: source is not of a pool
	stream  stream

	mu      sync.Mutex // guards the fields below; the engine's loop uses them too
	lease   *lease
	tried   []*member
	errs    []error
	dialled time.Time // the present try
}

// forward judges the client and, when it may, gives its connection to the pipe
// engine. hello is its TLS ClientHello, where that was looked at.
func (a *arrival) forward(f *forward, hello sni.Hello) {
	v := a.server.judge(f.gateway, acl.Client{Addr: a.addr(), Tunnel: a.tunnel})
	fl := &flow{arrival: a, forward: f, verdict: v, group: f.groupOf(a.svc)}
	fl.stream.client, fl.stream.network = a.addr(), "tcp"
	fl.stream.isFor(&f.gateway)
	if !v.Allow {
		fl.turnAway(403, nil)
		return
	}
	if err := fl.introduce(hello); err != nil {
		f.count.failed.Add(1)
		a.server.deny.note("denied", f.kind, f.name, a.addr(), acl.Verdict{Why: err.Error()})
		fl.turnAway(503, err)
		return
	}
	switch {
	case f.hub != nil:
		fl.apart(fl.gateway)
		return
	case f.speaks():
		fl.apart(fl.speak)
		return
	}
	a.server.conns.add(&fl.stream)
	s := a.pipe(fl.plan())
	fl.stream.cutWith(s.Cut)
	fl.stream.movedBy(s)
}

// has notes the backend that was chosen.
func (fl *flow) has(l *lease) {
	fl.lease = l
	fl.stream.backend.Store(l.member)
}

// apart goes on with the flow in a goroutine of its own.
func (fl *flow) apart(step func()) {
	if !fl.take() {
		fl.verdict.Release()
		if fl.pooled != nil {
			fl.pooled.Release()
		}
		return
	}
	fl.server.conns.add(&fl.stream)
	fl.server.entering.Go(step)
}

// turnAway ends a flow that has not begun. status is what HTTP would call it.
func (fl *flow) turnAway(status int, cause error) {
	fl.logFlow(status, pipe.Result{}, "", cause)
	fl.verdict.Release()
	if fl.pooled != nil {
		fl.pooled.Release()
	}
	fl.refuse()
}

// introduce finds out how the backend gets to know the client: by the source
// address, by an announcement, or both.
func (fl *flow) introduce(hello sni.Hello) (err error) {
	f, client := fl.forward, fl.addr()
	if fl.source, fl.pooled, err = fl.state.sourceOf(f.Source, f.Pool, client); err != nil {
		return err
	}
	if fl.pooled == nil && f.needsPool(client) {
		if fl.pooled, err = fl.state.lease(f.Pool, client); err != nil {
			return err
		}
	}
	if len(f.Announce) > 0 {
		fl.id = newID()
	}
	fl.head, err = f.header(introduction{"tcp", fl.client, fl.local, fl.pooled, hello, fl.id})
	return err
}

// plan chooses a backend that was not tried yet. Without one the plan is zero,
// which ends the flow.
func (fl *flow) plan() pipe.Plan {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	options := pipe.Options{Head: fl.head, Idle: fl.forward.Idle, Lifetime: fl.forward.Lifetime, Done: fl.done}
	l, err := fl.group.pick(fl.addr(), fl.tried)
	for err == nil {
		why := fl.state.guard.check("tcp", l.addr)
		if why == nil {
			break
		}
		l.done()
		fl.tried = append(fl.tried, l.member)
		fl.errs = append(fl.errs, fmt.Errorf("backend %s: %w", l.text, why))
		l, err = fl.group.pick(fl.addr(), fl.tried)
	}
	if err != nil {
		if len(fl.tried) < len(fl.group.members) {
			fl.errs = append(fl.errs, err)
		}
		return pipe.Plan{Options: options}
	}
	fl.has(l)
	fl.dialled = time.Now()
	return pipe.Plan{
		Backend:     l.addr,
		Source:      fl.source.addrPort(),
		Transparent: fl.source.transparent,
		Connect:     fl.group.config.dial,
		Failed:      fl.unreachable,
		Connected:   fl.connected,
		Options:     options,
	}
}

// connected takes note that the present backend has taken the connection.
func (fl *flow) connected(took time.Duration) {
	fl.forward.count.waited.observe(took)
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.lease.succeeded()
}

// unreachable takes note that the present backend could not be connected, and
// gives the next. Nothing was sent yet.
func (fl *flow) unreachable(err error) pipe.Plan {
	fl.giveUp(err)
	return fl.plan()
}

func (fl *flow) giveUp(err error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.errs = append(fl.errs, fmt.Errorf("backend %s: %w after %s", fl.lease.text, cause(err), since(fl.dialled)))
	fl.tried = append(fl.tried, fl.lease.member)
	fl.lease.done()
	fl.group.failed(fl.lease.member, err)
	fl.lease = nil
}

// done ends the flow: both sockets are closed.
func (fl *flow) done(r pipe.Result) {
	s, count := fl.server, fl.forward.count
	s.conns.remove(&fl.stream)
	s.gate.leave()
	fl.verdict.Release()
	if fl.pooled != nil {
		defer fl.pooled.Release()
	}
	count.up.Add(r.Up)
	count.down.Add(r.Down)
	fl.mu.Lock()
	l, errs := fl.lease, fl.errs
	fl.mu.Unlock()
	if l == nil || r.Reason == pipe.Unreachable || r.Reason == pipe.Refused {
		count.failed.Add(1)
		if l != nil {
			l.done()
		}
		fl.logFlow(502, r, "", joinOnLine(errs))
		s.log.Warn("no backend", "forward", fl.forward.Name, "client", fl.client.Addr(), "cause", joinOnLine(errs), "waited", since(fl.began))
		return
	}
	l.done()
	fl.logFlow(200, r, l.text, r.Err)
	if s.log.Enabled(context.Background(), slog.LevelInfo) {
		fl.logEnd(l, r)
	}
}

// logEnd writes the log's line of a connection that ended.
func (fl *flow) logEnd(l *lease, r pipe.Result) {
	attrs := []any{
		"forward", fl.forward.Name, "client", fl.client.Addr(), "backend", l.text,
		"up", r.Up, "down", r.Down, "lasted", since(fl.began), "end", r.Reason.String(), "by", r.Side.String(),
	}
	if fl.source.addr.IsValid() {
		attrs = append(attrs, "source", fl.source.addr)
	}
	if fl.id != nil {
		attrs = append(attrs, "id", hex.EncodeToString(fl.id))
	}
	if r.Err != nil {
		attrs = append(attrs, "cause", r.Err)
	}
	fl.server.log.Info("connection", attrs...)
}
