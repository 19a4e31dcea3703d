package proxy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/http1"
	"genkan/proxy/message"
	"genkan/proxy/pool"
	"genkan/proxy/web"
)

// A visit is one client's connection to the sites of a listener: the policy
// by which package exchange handles its requests.
type visit struct {
	*arrival
	sites *webEngine
}

// A call is one request on its way: the note that Decide leaves for Done.
type call struct {
	visit   *visit
	site    *site
	client  acl.Addr
	verdict acl.Verdict
	began   time.Time

	source source
	pooled *pool.Lease // nil: source is not of a pool

	lease   *lease
	tried   []*member
	errs    []error
	dialled time.Time // the present try
	refused error     // the pool has no address for the client
}

// Decide finds the site of a request, judges the client, tells the backend
// who it is, and chooses the backend.
func (v *visit) Decide(r *message.Request) exchange.Decision {
	st := v.server.state.Load() // rules of this moment, not of the connection's
	var one *site
	if svc := st.services[v.at]; svc != nil {
		one, _ = svc.sites.Find(r.Authority.Host)
	}
	if one == nil {
		return exchange.Decision{Status: 421, Text: message.StatusText(421) + ": no such site here\n"}
	}
	client, err := one.trust.client(r.Source.Client, r.Header)
	if err != nil {
		return exchange.Decision{Status: 400, Text: message.StatusText(400) + ": " + err.Error() + "\n"}
	}
	c := &call{visit: v, site: one, client: client.Addr, began: time.Now()}
	c.verdict = v.server.judge(one.gateway, client)
	if !c.verdict.Allow {
		return c.deny()
	}
	if err := c.prepare(st, r); err != nil {
		c.refused = err
		return exchange.Decision{Status: 503, Note: c}
	}
	d := c.send()
	if alt := st.services[v.at].altSvc; alt != "" {
		d.Answer.Add("Alt-Svc", alt) // RFC 7838 §3
	}
	return d
}

// prepare finds the address that the backend sees and tells it who the
// client is.
func (c *call) prepare(st *state, r *message.Request) (err error) {
	one := c.site
	if c.source, c.pooled, err = st.sourceOf(one.Source, one.Pool, c.client); err != nil {
		return err
	}
	id := web.Identity{Client: c.client, Scheme: "http", Host: r.Authority.Text}
	if r.Source.TLS {
		id.Scheme = "https"
	}
	if one.pseudo && !c.client.Is4() {
		if c.pooled == nil {
			if c.pooled, err = st.lease(one.Pool, c.client); err != nil {
				return err
			}
		}
		id.Pseudo = acl.AddrFrom(c.pooled.Addr)
	}
	id.Scheme = one.trust.scheme(r.Source.Client, r.Header, id.Scheme)
	// What the client claims goes, what we know comes. Hop-by-hop fields went
	// before, so "Connection: X-Forwarded-For" takes nothing of ours away.
	r.Header.DelFunc(one.isClaim)
	for _, f := range id.Fields(one.Announce, one.PseudoHeader) {
		r.Header.Add(f.Name, f.Value)
	}
	return nil
}

// deny answers what the rules refuse. The rule is in our log, not in theirs.
func (c *call) deny() exchange.Decision {
	d := exchange.Decision{Status: c.verdict.Status, Note: c}
	if after := c.verdict.RetryAfter; after > 0 {
		d.Header.Add("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	return d
}

// send chooses the backend.
func (c *call) send() exchange.Decision {
	to, ok := c.pick()
	if !ok {
		return exchange.Decision{Status: 502, Note: c}
	}
	return exchange.Decision{To: to, Next: c.next, Note: c}
}

// pick takes a backend that was not tried yet.
func (c *call) pick() (http1.Target, bool) {
	l, err := c.site.group.pick(c.client, c.tried)
	if err != nil {
		c.errs = append(c.errs, err)
		return http1.Target{}, false
	}
	c.lease, c.dialled = l, time.Now()
	return l.target(c.source), true
}

// next gives another backend after one could not be connected to.
func (c *call) next(_ http1.Target, err error) (http1.Target, bool) {
	var e *http1.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	c.errs = append(c.errs, fmt.Errorf("backend %s: %w after %s", c.lease.text, cause(err), since(c.dialled)))
	c.tried = append(c.tried, c.lease.member)
	c.lease.done()
	c.site.group.failed(c.lease.member, err)
	c.lease = nil
	if len(c.tried) == len(c.site.group.members) {
		return http1.Target{}, false
	}
	return c.pick()
}

// Done ends a request: it was answered, or the client has gone.
func (v *visit) Done(_ *message.Request, d exchange.Decision, res exchange.Result) {
	c, ok := d.Note.(*call)
	if !ok {
		return
	}
	c.verdict.Release()
	if c.pooled != nil {
		c.pooled.Release()
	}
	if c.lease != nil {
		c.lease.succeeded()
		c.lease.done()
	}
	switch {
	case !c.verdict.Allow || res.Fault == http1.FaultClient || res.Fault == http1.FaultAborted:
	case c.refused != nil:
		c.site.count.failed.Add(1)
		v.server.deny.note("denied", c.site.kind, c.site.name, c.client, acl.Verdict{Why: c.refused.Error()})
	case c.lease == nil:
		c.fail("no backend", joinOnLine(c.errs))
	case res.Fault != 0:
		c.fail("no answer", res.Err)
	case res.Err != nil:
		v.server.log.Info("answer cut", "site", c.site.Name, "client", c.client, "sent", res.Sent, "cause", res.Err)
	}
}

func (c *call) fail(message string, err error) {
	c.site.count.failed.Add(1)
	c.visit.server.log.Warn(message, "site", c.site.Name, "client", c.client, "cause", err, "waited", since(c.began))
}

func (one *site) isClaim(name string) bool {
	return web.Claims(name) || web.SameField(name, one.PseudoHeader)
}
