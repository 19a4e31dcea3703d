// Package exchange joins a front, a policy and the backends: it is the one
// path that a request takes, whatever version of HTTP it came in.
//
//	h := &exchange.Handler{Policy: sites, Transport: transport}
//	server.NewConn(conn, nil, source, h).Serve()
//
//	request → aliases of our fields dropped → Policy.Decide (verdict, site,
//	header edits, backend) → Transport → answer → Policy.Done (log, count)
package exchange

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"genkan/proxy/http1"
	"genkan/proxy/http2"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// A Policy says what becomes of requests.
type Policy interface {
	// Decide says where r goes. It may change r.Header.
	Decide(r *message.Request) Decision
	// Done is called once for each request, when the exchange is over: also
	// for one that was refused before Decide, with the zero Decision.
	Done(r *message.Request, d Decision, res Result)
}

// A Decision is where a request goes. The zero Decision answers 403.
type Decision struct {
	// To is the backend. Without a valid To.Addr we answer ourselves.
	To http1.Target
	// Next, where not nil, gives another backend where To cannot be reached.
	Next http1.Next
	// Status, Header and Page are our own answer; Status 0 is 403.
	Status int
	Header message.Header
	Page   Page
	// Pages gives the page of an error where Page is zero, also where the
	// backend gives no answer. Nil: the status in words.
	Pages func(r *message.Request, status int) Page
	// Answer holds fields to add to the answer, whoever gives it; Edits are
	// made behind, so that the operator has the last word.
	Answer message.Header
	Edits  []message.Edits
	// Note is the Policy's own, for Done.
	Note any
}

// A Page is the content of an answer of ours. The zero Page is none.
type Page struct {
	Type string // its media type; "": plain text
	Text string
}

// A Result is how an exchange ended.
type Result struct {
	Status int         // that the client was sent
	Sent   int64       // bytes of content that the client was sent
	Fault  http1.Fault // why the backend gave no answer, 0: it did
	// Waited is how long the head of the backend's answer took, 0 where none
	// was asked.
	Waited time.Duration
	// Err is the cause behind Fault, or why the answer did not reach the
	// client whole; nil where all went well.
	Err error
}

// A Handler is the message.Handler of all fronts.
type Handler struct {
	Policy    Policy
	Transport *http1.Transport
	// HTTP2 sends to backends that speak HTTP/2. Nil: there are none.
	HTTP2 *http2.Transport
	// Pressure says when memory is short: then requests are answered 503. Nil:
	// it never is.
	Pressure *pressure.Gauge
	// Bite is told when that happens. Nil: nobody is.
	Bite message.Bite
	// Idle is how long either side of a conversation in gRPC may be silent.
	Idle time.Duration
	// Underscores says what becomes of a field like X_Forwarded_For.
	Underscores message.Underscores
}

// note is what Handle leaves for Done.
type note struct {
	decision Decision
	fault    http1.Fault
	err      error
	waited   time.Duration
}

// notes lends a note to each request. (A sync.Pool is a cache of the runtime's,
// not state of ours.)
var notes = sync.Pool{New: func() any { return &note{} }}

// Handle answers r by the policy's decision.
func (h *Handler) Handle(r *message.Request) *message.Response {
	n := notes.Get().(*note)
	r.Note = n
	if err := h.clean(&r.Header); err != nil {
		n.err = err
		n.decision.Status, n.decision.Page.Text = 400, message.StatusText(400)+": "+err.Error()+"\n"
		return own(r, &n.decision)
	}
	if h.Pressure.Level() >= pressure.Refuse {
		h.Bite.Tell(message.LimitMemory)
		n.decision.Status, n.decision.Header = 503, message.Header{{Name: "Retry-After", Value: "5"}}
		resp := own(r, &n.decision)
		resp.Close = true
		return resp
	}
	n.decision = h.Policy.Decide(r)
	resp := h.forward(r, n)
	resp.Header = append(resp.Header, n.decision.Answer...)
	for _, e := range n.decision.Edits {
		e.Apply(&resp.Header)
	}
	return resp
}

// forward gets the answer to r, from a backend or our own.
func (h *Handler) forward(r *message.Request, n *note) *message.Response {
	if !n.decision.To.Addr.IsValid() {
		return own(r, &n.decision)
	}
	asked := time.Now()
	resp, err := h.send(r, &n.decision)
	n.waited = time.Since(asked)
	if err == nil {
		return resp
	}
	n.err = err
	var e *http1.Error
	if errors.As(err, &e) {
		n.fault = e.Fault
	}
	return failed(r, &n.decision, n.fault, err)
}

// send sends r to its backend. A websocket begins in HTTP/1 there, whatever
// else the backend speaks.
func (h *Handler) send(r *message.Request, d *Decision) (*message.Response, error) {
	if h.HTTP2 == nil || !d.To.HTTP2 || r.Upgrade {
		return h.Transport.RoundTrip(r, d.To, d.Next)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		r.Idle = h.Idle
	}
	return h.HTTP2.RoundTrip(r, d.To, d.Next)
}

// Done tells the policy how it went.
func (h *Handler) Done(r *message.Request, resp *message.Response, o message.Outcome) {
	n := r.Note.(*note)
	res := Result{Status: resp.Status, Sent: o.Sent, Fault: n.fault, Waited: n.waited, Err: n.err}
	if res.Err == nil {
		res.Err = o.Err
	}
	h.Policy.Done(r, n.decision, res)
	*n, r.Note = note{}, nil
	notes.Put(n)
}

// clean removes fields that a CGI server would take for one of ours, or gives
// the reason where the request is to be refused for them.
func (h *Handler) clean(fields *message.Header) error {
	if h.Underscores == message.PassAliases {
		return nil
	}
	for i := range *fields {
		if name := (*fields)[i].Name; message.IsAlias(name) {
			if h.Underscores == message.RejectAliases {
				return fmt.Errorf("field %q is another spelling of one that only we may set", name)
			}
			fields.DelFunc(message.IsAlias)
			return nil
		}
	}
	return nil
}
