package message

import (
	"io"
	"net"
)

// A Response is the answer to a request, from a backend or our own.
type Response struct {
	// Status is 200 to 599, or 101 where Upgraded is set.
	Status int
	// Reason is the status line's text, "" for the standard one.
	Reason string
	// Header holds end-to-end fields without framing.
	Header Header
	// Body is nil where there is no content.
	Body Body
	// Length is the content's length in bytes, -1 where only its end will
	// tell. With Body nil it is what the answer says about the content of
	// an answer to HEAD or of a 304, -1 to say nothing.
	Length int64
	// Release, where not nil, is closed by the front once it is done with
	// the response, whether or not Body was read to its end.
	Release io.Closer
	// Upgraded is the backend's connection after a 101, Early what was read
	// from it already. The front owns the connection from then on.
	Upgraded net.Conn
	Early    []byte
	// Close asks for the end of the client's connection after this answer.
	Close bool
}

// NoBody reports whether an answer with this status to this method never has
// content (RFC 9110 §6.4.1).
func NoBody(method string, status int) bool {
	return method == "HEAD" || status < 200 || status == 204 || status == 304
}

// A Handler answers requests.
type Handler interface {
	// Handle answers r; it never returns nil. It may change r. The answer
	// may come before the request's body was read to its end.
	Handle(r *Request) *Response
	// Done is called once for each answer of Handle, after it was sent and
	// before it is released.
	Done(r *Request, resp *Response, o Outcome)
}

// An Outcome is how an exchange ended, for logs, metrics and limits.
type Outcome struct {
	// Sent is the number of content bytes that the client was sent.
	Sent int64
	// Err is why the answer did not reach the client whole, nil if it did.
	Err error
}
