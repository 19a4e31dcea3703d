package http3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	on := r.Context().Value(sessionKey{}).(*session)
	conn := on.conn
	ex := &exchange{s: s, ctx: r.Context(), w: w, control: http.NewResponseController(w)}
	on.begin()
	defer func() { on.end(r.Context().Err() != nil || ex.reset.Load()) }()
	from, h, ok := s.accept(conn, &on.tls)
	if !ok {
		conn.CloseWithError(refused, "")
		return
	}
	ex.req.Source = from
	status, err := ex.parse(r)
	switch {
	case status != 0:
		if status == http.StatusRequestURITooLong || status == http.StatusRequestHeaderFieldsTooLarge {
			s.config.Bite.Tell(message.LimitHead)
		}
		w.WriteHeader(status)
		return
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	stop := context.AfterFunc(r.Context(), ex.req.Abort)
	whole := ex.answer(conn, h)
	stop()
	if !whole {
		// net/http's word for a reset: the client must not take what it has
		// for the whole answer.
		panic(http.ErrAbortHandler)
	}
}

// An exchange is one request and its answer. It is the request's body.
type exchange struct {
	s       *Server
	ctx     context.Context // ends where the client does not want the answer
	w       http.ResponseWriter
	control *http.ResponseController
	req     message.Request

	body   io.Reader
	key    message.WebSocketKey // of a websocket, else ""
	first  []byte               // read ahead to see whether there is content
	ahead  [1]byte              // room for it
	asked  bool                 // 100 was sent
	got    int64
	waited time.Duration

	answering sync.Mutex // guards w while 100 may come from another goroutine, and answered
	answered  bool       // the final answer has begun

	over  atomic.Bool // the exchange lasted too long
	reset atomic.Bool // the client ended its content by a reset

	mu       sync.Mutex // guards what follows
	complete bool
	stopped  bool
}

// parse makes the request of what quic-go has checked already. A status is
// our own answer; an error means that the request is malformed.
func (ex *exchange) parse(r *http.Request) (status int, err error) {
	cfg, req := &ex.s.config, &ex.req
	switch {
	case r.Method == http.MethodConnect && r.Proto == "HTTP/3.0":
		return http.StatusMethodNotAllowed, nil
	case r.Method == http.MethodConnect && (r.Proto != "websocket" || cfg.Relay == nil):
		return http.StatusNotImplemented, nil // RFC 9220 §3
	case len(r.RequestURI) > cfg.MaxLine:
		return http.StatusRequestURITooLong, nil
	}
	req.Proto, req.Method, req.Target = "HTTP/3", r.Method, r.RequestURI
	if req.Target != "*" {
		if err := message.CheckPath(req.Target); err != nil {
			return 0, err
		}
	}
	if req.Authority, err = message.ParseAuthority(r.Host); err != nil {
		return 0, err
	}
	if status := ex.fields(r.Header); status != 0 {
		return status, nil
	}
	req.Inform = ex.inform
	if r.Method == http.MethodConnect {
		return ex.connect(r)
	}
	ex.body = r.Body
	req.Length = r.ContentLength
	if req.Length < 0 && !slices.Contains([]string{"POST", "PUT", "PATCH"}, r.Method) {
		// Without a length, only the end of the stream tells whether there
		// is content; it comes with the fields in nearly every request.
		ex.peek()
	}
	if req.Length == 0 {
		ex.complete = true
		req.Expect = false
		return 0, nil
	}
	req.Body = ex
	return 0, nil
}

// connect makes a websocket handshake of an extended CONNECT (RFC 9220).
func (ex *exchange) connect(r *http.Request) (status int, err error) {
	if r.ContentLength >= 0 {
		return 0, errors.New("websocket with content-length")
	}
	ex.req.Method, ex.req.Upgrade, ex.req.Expect = "GET", true, false
	ex.key = message.NewWebSocketKey(&ex.req)
	ex.complete = true
	return 0, nil
}

// fields takes the fields that go on; a status refuses them.
func (ex *exchange) fields(h http.Header) (status int) {
	cfg, n := &ex.s.config, 0
	for name, values := range h {
		for _, value := range values {
			n++
			if !message.IsToken(name) || !message.IsValue(message.TrimBlank(value)) {
				return http.StatusBadRequest
			}
			if len(name)+len(value) > cfg.MaxLine || n > cfg.MaxFields {
				return http.StatusRequestHeaderFieldsTooLarge
			}
			switch {
			case name == "Expect" && message.EqualFold(value, "100-continue"):
				ex.req.Expect = true
			case name == "Expect":
				return http.StatusExpectationFailed
			case name == "Te":
				ex.req.Trailers = value == "trailers"
			case name == "Host" || message.IsHop(name):
			default:
				ex.req.Header.Add(name, message.TrimBlank(value))
			}
		}
	}
	return 0
}

// peek looks whether there is content at all.
func (ex *exchange) peek() {
	n, err := ex.read(ex.ahead[:])
	ex.first = ex.ahead[:n]
	if n == 0 && err == io.EOF {
		ex.req.Length = 0
	}
}

// Read returns content; it waits no longer than the configured pace allows.
func (ex *exchange) Read(p []byte) (int, error) {
	if len(ex.first) > 0 {
		n := copy(p, ex.first)
		ex.first = ex.first[n:]
		return n, nil
	}
	return ex.read(p)
}

func (ex *exchange) read(p []byte) (int, error) {
	ex.mu.Lock()
	stopped, complete := ex.stopped, ex.complete
	ex.mu.Unlock()
	switch {
	case stopped:
		return 0, errStopped
	case complete:
		return 0, io.EOF
	}
	if ex.req.Expect && !ex.asked {
		ex.asked = true
		ex.inform(http.StatusContinue, nil)
	}
	cfg := &ex.s.config
	credit := cfg.BodyGrace + time.Duration(float64(ex.got)/float64(cfg.BodyRate)*float64(time.Second)) - ex.waited
	patience := min(credit, cfg.BodyIdle)
	if ex.req.Idle > 0 {
		patience = ex.req.Idle
	}
	began := time.Now()
	ex.control.SetReadDeadline(began.Add(patience))
	n, err := ex.body.Read(p)
	if err != nil && err != io.EOF {
		n = 0 // as many bytes as announced may be there, and more behind them
	}
	ex.waited += time.Since(began)
	ex.got += int64(n)
	if err == io.EOF || ex.req.Length >= 0 && ex.got == ex.req.Length {
		ex.mu.Lock()
		ex.complete = true
		ex.mu.Unlock()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		ex.s.config.Bite.Tell(message.LimitBodyRate)
		err = &http1.RequestError{Status: 408, Msg: "content not complete in time"}
	}
	if _, is := errors.AsType[*quichttp.Error](err); is {
		ex.reset.Store(true)
	}
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

var errStopped = errors.New("nobody wants the rest of the content")

// Stop reports whether the content was read to its end; else reading ends.
func (ex *exchange) Stop() bool {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if ex.complete {
		return true
	}
	ex.stopped = true
	ex.control.SetReadDeadline(time.Unix(1, 0))
	return false
}

// Trailer returns none: what stands there is dropped, as in package http1.
func (ex *exchange) Trailer() message.Header { return nil }

// Ready is how many bytes Read returns without waiting, as far as we know.
func (ex *exchange) Ready() int { return len(ex.first) }
