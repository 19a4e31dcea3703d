package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"genkan/acl"
	"genkan/proxy/accesslog"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
	"genkan/proxy/pipe"
	"genkan/proxy/pool"
)

// LogStats counts what one access log did.
type LogStats struct {
	To   string `json:"to"`
	Lost int64  `json:"lost"` // lines that could not be written
}

// A logSet is the access logs that are open. Server.mu guards it.
type logSet struct {
	open map[accesslog.Spec]*accesslog.Log
}

// prepare opens the logs that st wants and are not open, and gives them to its
// sites and forwards. After an error, keep with the state before undoes what
// was made.
func (set *logSet) prepare(st *state) error {
	opt := accesslog.Options{Front: st.config.Front, Stdout: st.config.Stdout, Log: st.config.Log}
	var errs []error
	get := func(spec accesslog.Spec) *accesslog.Log {
		if spec.To == "" || set.open[spec] != nil {
			return set.open[spec]
		}
		l, err := accesslog.Open(spec, opt)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		set.open[spec] = l
		return l
	}
	if set.open == nil {
		set.open = map[accesslog.Spec]*accesslog.Log{}
	}
	st.accessLog = get(st.config.AccessLog)
	for _, one := range st.sites {
		one.log = get(one.AccessLog)
	}
	for _, one := range st.forwards {
		one.log = get(one.AccessLog)
	}
	return errors.Join(errs...)
}

// keep closes the logs that st does not have.
func (set *logSet) keep(st *state) {
	wanted := st.logSpecs()
	for spec, l := range set.open {
		if !wanted[spec] {
			delete(set.open, spec)
			l.Close()
		}
	}
}

// logSpecs are the logs that st wants.
func (st *state) logSpecs() map[accesslog.Spec]bool {
	wanted := map[accesslog.Spec]bool{st.config.AccessLog: true}
	for _, one := range st.sites {
		wanted[one.AccessLog] = true
	}
	for _, one := range st.forwards {
		wanted[one.AccessLog] = true
	}
	return wanted
}

// checkLogs finds destinations that are none, and two ways of writing to one.
func (st *state) checkLogs(errs *faults) {
	formats := map[string]accesslog.Format{}
	check := func(place string, spec accesslog.Spec) {
		if spec.To == "" {
			return
		}
		err := accesslog.CheckTo(spec.To)
		if other, twice := formats[spec.To]; err == nil && twice && other != spec.Format {
			err = fmt.Errorf("%q is written in another format by others; write the same for all who log there", spec.To)
		}
		formats[spec.To] = spec.Format
		if err != nil {
			errs.add(place, fmt.Errorf("access log %w", err))
		}
	}
	check("", st.config.AccessLog)
	for _, c := range st.config.Sites {
		check(fmt.Sprintf("site %q", c.Name), c.AccessLog)
	}
	for _, c := range st.config.Forwards {
		check(fmt.Sprintf("forward %q", c.Name), c.AccessLog)
	}
}

// stats counts what the logs did, by where they go.
func (set *logSet) stats() []LogStats {
	all := []LogStats{}
	for spec, l := range set.open {
		all = append(all, LogStats{spec.To, l.Lost()})
	}
	slices.SortFunc(all, func(a, b LogStats) int { return strings.Compare(a.To, b.To) })
	return all
}

// ReopenLogs makes the access logs open their files anew, after these were
// moved away.
func (s *Server) ReopenLogs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs.open {
		l.Reopen()
	}
}

// note keeps what a log wants of a request, before it is changed for the
// backend.
func (c *call) note(r *message.Request) {
	c.target = r.Target
	if c.site == nil || c.site.log != nil {
		c.referer, c.agent = r.Header.Get("Referer"), r.Header.Get("User-Agent")
	}
}

// logRequest writes the line of a request.
func (c *call) logRequest(r *message.Request, res exchange.Result, cause error) {
	l := c.visit.server.state.Load().accessLog
	if c.site != nil {
		l = c.site.log
	}
	if l == nil {
		return
	}
	e := accesslog.Entry{
		Began: c.began, Lasted: since(c.began), Waited: res.Waited, Tunnel: r.Source.Client.Tunnel, TLS: r.Source.TLS,
		Proto: r.Proto, Method: r.Method, Host: r.Authority.Text, Target: c.target, Referer: c.referer, Agent: c.agent,
		Status: res.Status, Sent: res.Sent, User: c.user,
	}
	c.visit.describe(&e, c.client, c.verdict, c.pooled)
	if c.site != nil {
		e.Site = c.site.Name
	}
	if c.lease.member != nil {
		e.Backend = c.lease.text
	}
	if cause != nil {
		e.Cause = cause.Error()
	}
	l.Write(&e)
}

// describe writes down who a client is, and which rule decided.
func (a *arrival) describe(e *accesslog.Entry, client acl.Addr, v acl.Verdict, pooled *pool.Lease) {
	e.Client = client
	if client == a.addr() {
		e.Port = a.client.Port()
	}
	if peer := acl.AddrFrom(a.peer.Addr()); peer != client {
		e.Peer = peer
	}
	if e.Allowed, e.Rule = v.Allow, v.Rule; v.Rule != "" {
		e.Place = v.Pos.String()
	}
	if pooled != nil {
		e.Pool = acl.AddrFrom(pooled.Addr)
	}
}

// logFlow writes the line of a forwarded connection, or of one that was
// refused.
func (fl *flow) logFlow(status int, r pipe.Result, backend string, cause error) {
	if fl.forward.log == nil {
		return
	}
	e := accesslog.Entry{
		Began: fl.began, Lasted: since(fl.began), Forward: fl.forward.Name, Network: "tcp", Tunnel: fl.tunnel, TLS: fl.forward.tls != nil,
		Status: status, Sent: r.Down, Received: r.Up, Backend: backend,
	}
	fl.describe(&e, fl.addr(), fl.verdict, fl.pooled)
	switch {
	case cause != nil:
		e.Cause = cause.Error()
	case status == 200:
		e.Cause = r.Reason.String() + " by " + r.Side.String()
	}
	fl.forward.log.Write(&e)
}

// logSession writes the line of a UDP session.
func (one *session) logSession(status int, cause string) {
	if one.forward.log == nil {
		return
	}
	e := accesslog.Entry{
		Began: one.began, Lasted: since(one.began), Forward: one.forward.Name, Network: "udp",
		Client: acl.AddrFrom(one.key.client.Addr()), Port: one.key.client.Port(), Tunnel: one.tunnel,
		Status: status, Sent: one.out.Load(), Received: one.in.Load(), Allowed: one.verdict.Allow, Rule: one.verdict.Rule,
		Backend: one.lease.text, Cause: cause,
	}
	if e.Rule != "" {
		e.Place = one.verdict.Pos.String()
	}
	if one.pooled != nil {
		e.Pool = acl.AddrFrom(one.pooled.Addr)
	}
	one.forward.log.Write(&e)
}
