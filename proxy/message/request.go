package message

import (
	"crypto/x509"
	"io"
	"net/netip"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/fiber"
)

// A Source is where a request comes from, the same for all requests of one
// connection. The zero Source is no client; every policy denies it.
type Source struct {
	// Client is who connects: the peer, or whom a trusted peer's PROXY
	// header named.
	Client acl.Client
	// ClientPort is the client's port, 0 where unknown.
	ClientPort uint16
	// Local is the address and port of ours that the client came to.
	Local netip.AddrPort
	// ServerName is TLS's SNI in canonical form, "" without TLS or SNI.
	ServerName string
	// TLS is true where the client's bytes were encrypted.
	TLS bool
	// Proof has the chains, leaf first, by which TLS has verified the
	// certificate that the client was asked for; nil: it has shown none.
	Proof [][]*x509.Certificate
}

// A Request is one well-formed request; see the package's documentation.
// It is valid until the front's call of Handler.Done returns.
type Request struct {
	Source Source
	// Proto is "HTTP/1.0", "HTTP/1.1", "HTTP/2" or "HTTP/3", for logs.
	Proto string
	// Method is a token, case-sensitive. Never CONNECT.
	Method string
	// Authority is the one host of the request.
	Authority Authority
	// Target is path and query in origin form, or "*" with OPTIONS.
	Target string
	// Header holds end-to-end fields without Host.
	Header Header
	// Body is nil exactly where Length is 0.
	Body RequestBody
	// Length is the body's length in bytes, -1 where only its end will tell.
	Length int64
	// Trailers is true where the client reads fields behind the content (TE).
	Trailers bool
	// Idle is how long either side may be silent within content, where that is
	// a conversation: the Handler sets it before it reads Body, and then the
	// front's bounds on silence and rate do not hold. Zero: they do.
	Idle time.Duration
	// Expect is true where the client waits for 100 before it sends the body.
	Expect bool
	// Upgrade is true for a websocket handshake (GET, no body), the only
	// upgrade there is.
	Upgrade bool
	// Inform, where not nil, sends an interim answer (100 or 103) at once.
	Inform func(status int, h Header)

	// Loop is the event loop on which the request is handled: whoever would
	// block calls Loop.Leave. Nil: the request has a goroutine of its own.
	Loop *fiber.Loop
	// Note is the Handler's own, from Handle to Done.
	Note any

	mu      sync.Mutex // guards what follows
	aborted bool
	onAbort func()
}

// A Body is the content of a request or a response. Read's errors other than
// io.EOF mean that the content was cut short or malformed.
type Body interface {
	io.Reader
	// Trailer is what came behind the content, filtered by KeepTrailer;
	// call it after Read has returned io.EOF.
	Trailer() Header
	// Ready is how many bytes Read can return without waiting.
	Ready() int
}

// A RequestBody is a Body that is passed on by one goroutine while another
// handles the answer.
type RequestBody interface {
	Body
	// Stop reports whether the content was read to its end. If it was not,
	// a Read that waits, and all later ones, fail.
	Stop() bool
}

// Abort tells whoever works on the request that nobody waits for its answer
// any more. It may be called from any goroutine, any number of times.
func (r *Request) Abort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aborted = true
	if r.onAbort != nil {
		r.onAbort() // under the lock: once OnAbort(nil) returns, no call is under way
		r.onAbort = nil
	}
}

// OnAbort sets what Abort does now, nil for nothing, and reports whether the
// request is still wanted; if it is not, f was not kept and is not called.
// f must not block or use r.
func (r *Request) OnAbort(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aborted {
		return false
	}
	r.onAbort = f
	return true
}

// Reset makes r ready for the next request from the same source. It keeps
// the memory of Header.
func (r *Request) Reset() {
	h := r.Header[:0]
	clear(r.Header)
	r.mu.Lock()
	r.aborted, r.onAbort = false, nil
	r.mu.Unlock()
	r.Proto, r.Method, r.Target, r.Authority = "", "", "", Authority{}
	r.Header, r.Body, r.Length = h, nil, 0
	r.Trailers, r.Idle = false, 0
	r.Expect, r.Upgrade, r.Inform, r.Note, r.Loop = false, false, nil, nil, nil
}

// Idempotent reports whether sending the request twice means the same as
// once (RFC 9110 §9.2.2), so that it may be repeated on a new connection.
func (r *Request) Idempotent() bool {
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
		return true
	}
	return false
}
