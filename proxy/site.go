package proxy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	sites  *webEngine
	stream *stream // nil: not known here
}

// A call is one request on its way: the note that Decide leaves for Done.
type call struct {
	visit   *visit
	site    *site // nil: none was found
	part    *part // nil: the request was refused before
	client  acl.Addr
	verdict acl.Verdict
	began   time.Time

	source source
	pooled *pool.Lease // nil: source is not of a pool

	lease   lease // none: no member
	tried   []*member
	errs    []error
	dialled time.Time // the present try
	refused error     // the pool has no address for the client

	target, referer, agent string            // as they came, for the access log
	user                   string            // who gave a password
	proof                  *x509.Certificate // that the site asked for; nil: none

	pages func(*message.Request, int) exchange.Page // c.page, made once
	again http1.Next                                // c.next, likewise
}

// calls lends a call to each request, from Decide to Done. (A sync.Pool is a
// cache of the runtime's, not state of ours.)
var calls = sync.Pool{New: func() any {
	c := &call{}
	c.pages, c.again = c.page, c.next
	return c
}}

func (v *visit) call(r *message.Request) *call {
	c := calls.Get().(*call)
	c.visit, c.client, c.began = v, r.Source.Client.Addr, time.Now()
	c.dialled = c.began
	return c
}

// done gives c back.
func (c *call) done() {
	*c = call{pages: c.pages, again: c.again}
	calls.Put(c)
}

// Decide finds the site of a request and its part, judges the client, and says
// who answers.
func (v *visit) Decide(r *message.Request) exchange.Decision {
	if d, ok := v.answerCA(r); ok {
		return d
	}
	st := v.server.state.Load() // rules of this moment, not of the connection's
	c := v.call(r)
	d := c.decide(st, r)
	d.Note, d.Pages = c, c.pages
	if c.part != nil {
		d.Edits = c.part.response
	}
	if svc := st.services[v.at]; c.site != nil && !c.site.NoHTTP3 && svc.altSvc != "" {
		d.Answer.Add("Alt-Svc", svc.altSvc) // RFC 7838 §3
	}
	return d
}

// decide takes the steps of a request up to the one that answers it.
func (c *call) decide(st *state, r *message.Request) exchange.Decision {
	if svc := st.services[c.visit.at]; svc != nil {
		c.site, _ = svc.sites.Find(r.Authority.Host)
	}
	c.note(r)
	if c.site != nil {
		c.visit.stream.isFor(&c.site.gateway)
	}
	if c.site == nil {
		return c.refuse(r, 421, "no such site here")
	}
	client, err := c.site.trust.client(r.Source.Client, r.Header)
	if err != nil {
		return c.refuse(r, 400, err.Error())
	}
	c.client = client.Addr
	p, err := c.site.part(r)
	if err != nil {
		return c.refuse(r, 400, err.Error())
	}
	c.part = p
	c.verdict = c.visit.server.judge(p.gateway, client)
	if !c.verdict.Allow {
		return c.deny()
	}
	if d, refused := c.bound(r); refused {
		return d
	}
	if d, ok := c.toHTTPS(st, r); ok { // before a password is asked for in the clear
		return d
	}
	if d, refused := c.certified(r, st); refused {
		return d
	}
	if d, refused := c.authenticate(r); refused {
		return d
	}
	if p.Answer != nil {
		return c.answer(r)
	}
	if err := c.prepare(st, r); err != nil {
		c.refused = err
		return exchange.Decision{Status: 503}
	}
	return c.send()
}

// bound refuses what no backend is to get.
func (c *call) bound(r *message.Request) (d exchange.Decision, refused bool) {
	p := c.part
	switch {
	case r.Method == "TRACE":
		// It would show a script the cookies and what we say of the client
		// (RFC 9110 §9.3.8); nginx does not serve it either.
		d = c.refuse(r, 405, "TRACE is not served")
		d.Header.Add("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		return d, true
	case p.MaxHeader > 0 && headerSize(r) > p.MaxHeader:
		return exchange.Decision{Status: 431}, true
	case p.MaxBody > 0 && r.Length > p.MaxBody:
		return exchange.Decision{Status: 413}, true
	case p.MaxBody > 0 && r.Length < 0:
		r.Body = &boundedBody{RequestBody: r.Body, left: p.MaxBody}
	}
	return d, false
}

// answer is what we say ourselves.
func (c *call) answer(r *message.Request) exchange.Decision {
	a := c.part.Answer
	d := exchange.Decision{Status: a.Status, Page: a.Page}
	switch {
	case a.Redirect != "":
		if d.Status == 0 {
			d.Status = 302
		}
		target := r.Target
		if target == "*" {
			target = "/"
		}
		if r.Authority.Text == "" && c.part.redirect.NeedsHost() {
			return c.refuse(r, 400, "no Host, which tells where to go on")
		}
		d.Header.Add("Location", c.part.redirect.To(r.Authority.Name(), target))
	case d.Status == 0:
		d.Status = 200
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
	r.Header.DelFunc(func(name string) bool {
		return one.isClaim(name) && !(st.config.Underscores == message.PassAliases && message.IsAlias(name))
	})
	for _, e := range c.part.request {
		e.Apply(&r.Header)
	}
	r.Header = id.AppendTo(r.Header, one.Announce, one.PseudoHeader)
	c.certFields(&r.Header)
	if prefix := strings.TrimSuffix(c.part.route, "/"); c.part.strip && prefix != "" && slices.Contains(one.Announce, "x-forwarded-for") {
		r.Header.Add("X-Forwarded-Prefix", prefix)
	}
	return nil
}

// deny answers what the rules refuse. The rule is in our log, not in theirs.
func (c *call) deny() exchange.Decision {
	d := exchange.Decision{Status: c.verdict.Status}
	if after := c.verdict.RetryAfter; after > 0 {
		d.Header.Add("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	return d
}

// send chooses the backend.
func (c *call) send() exchange.Decision {
	to, ok := c.pick()
	if ok {
		return exchange.Decision{To: to, Next: c.again}
	}
	if err := joinOnLine(c.errs); errors.Is(err, errFull) || errors.Is(err, errSteered) {
		// One is there, and has enough to do, or is out on purpose: no fault of
		// its (RFC 9110 §15.6.4).
		d := exchange.Decision{Status: 503}
		d.Header.Add("Retry-After", "5")
		return d
	}
	return exchange.Decision{Status: 502}
}

// pick takes a backend that was not tried yet.
func (c *call) pick() (http1.Target, bool) {
	if len(c.tried) > 0 || c.user != "" {
		c.dialled = time.Now() // it was not just when the request came
	}
	if err := c.part.group.pickInto(&c.lease, c.client, c.tried); err != nil {
		c.errs = append(c.errs, err)
		return http1.Target{}, false
	}
	return c.lease.target(c.source), true
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
	c.part.group.failed(c.lease.member, err)
	c.lease = lease{}
	if len(c.tried) == len(c.part.group.members) {
		return http1.Target{}, false
	}
	return c.pick()
}

// Done ends a request: it was answered, or the client has gone.
func (v *visit) Done(r *message.Request, d exchange.Decision, res exchange.Result) {
	c, ok := d.Note.(*call)
	if !ok { // refused before Decide
		c = v.call(r)
		c.note(r)
	}
	c.verdict.Release()
	if c.site != nil && res.Waited > 0 {
		c.site.count.waited.observe(res.Waited)
	}
	if c.lease.member != nil {
		c.lease.succeeded()
		c.lease.done()
	}
	c.logRequest(r, res, c.ended(res))
	if c.pooled != nil {
		c.pooled.Release()
	}
	c.done()
}

// ended counts and logs a request that went wrong, and gives the cause.
func (c *call) ended(res exchange.Result) error {
	switch {
	case !c.verdict.Allow || res.Fault == http1.FaultClient || res.Fault == http1.FaultAborted:
		return res.Err
	case c.refused != nil:
		c.site.count.failed.Add(1)
		c.visit.server.deny.note("denied", c.site.kind, c.site.name, c.client, acl.Verdict{Why: c.refused.Error()})
		return c.refused
	case len(c.errs) > 0 && c.lease.member == nil:
		return c.fail("no backend", joinOnLine(c.errs))
	case res.Fault != 0:
		return c.fail("no answer", res.Err)
	case res.Err != nil:
		c.visit.server.log.Info("answer cut", "site", c.site.Name, "client", c.client, "sent", res.Sent, "cause", res.Err)
	}
	return res.Err
}

func (c *call) fail(message string, err error) error {
	c.site.count.failed.Add(1)
	c.visit.server.log.Warn(message, "site", c.site.Name, "client", c.client, "cause", err, "waited", since(c.began))
	return err
}

func (one *site) isClaim(name string) bool {
	return web.Claims(name) || web.SameField(name, one.PseudoHeader)
}
