package http2

import (
	"fmt"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/message"
)

// headers takes a header block: a new request, or the trailer of one.
func (c *Conn) headers(f *h2.MetaHeadersFrame) error {
	id := f.StreamID
	c.mu.Lock()
	st, busy := c.streams[id], c.running+c.staying+len(c.pending)+len(c.waiting) >= int(c.s.config.MaxStreams)
	c.mu.Unlock()
	switch {
	case f.Truncated:
		return c.tooLarge(id, st == nil)
	case st != nil:
		return st.trailer(f)
	case id%2 == 0:
		return fault(h2.ErrCodeProtocol, "stream %d: a client opens odd ones", id)
	case id <= c.maxID && c.weReset(id) && f.StreamEnded() && len(f.PseudoFields()) == 0:
		return nil // a trailer that was on its way
	case id <= c.maxID && c.weReset(id):
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeProtocol}
	case id <= c.maxID:
		return fault(h2.ErrCodeStreamClosed, "HEADERS for stream %d, which is over", id)
	}
	if f.HasPriority() && f.Priority.StreamDep == id {
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeProtocol}
	}
	if busy {
		c.s.config.Bite.Tell(message.LimitStreams)
	}
	if busy || c.s.draining.Load() {
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeRefusedStream}
	}
	st = c.open(f)
	status, err := st.parse(f)
	switch {
	case err != nil && c.s.config.Refused != nil:
		c.s.config.Refused(c.from, 400, err)
		fallthrough
	case err != nil:
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeProtocol}
	}
	if st.refuse = status; status == 414 || status == 431 {
		c.s.config.Bite.Tell(message.LimitHead)
	}
	c.begin(st)
	return nil
}

// tooLarge answers a request whose fields expand to more than MaxHead, and
// ends the connection: a few bytes that expand to megabytes are an attack
// (CVE-2016-6581), and who is not attacking would send the same fields again.
func (c *Conn) tooLarge(id uint32, first bool) error {
	c.s.config.Bite.Tell(message.LimitHead)
	tooLarge := fault(h2.ErrCodeEnhanceYourCalm, "fields of more than %d bytes", c.s.config.MaxHead)
	if !first || id%2 == 0 || id <= c.maxID {
		return tooLarge
	}
	c.maxID = id
	err := c.write(func() error {
		c.encBuf.Reset()
		c.field(":status", "431")
		return c.writeBlock(id, true)
	})
	if err != nil {
		return err
	}
	return tooLarge
}

// trailer takes the header block behind the content (RFC 9113 §8.1). What it
// says is dropped, as package http1 does with the trailer of a request.
func (st *stream) trailer(f *h2.MetaHeadersFrame) error {
	bad := h2.StreamError{StreamID: st.id, Code: h2.ErrCodeProtocol}
	if st.hasEnded() && st.whole.Load() {
		// The client knows both ends: the stream is closed, though it may still
		// be ours to finish (RFC 9113 §5.1).
		return fault(h2.ErrCodeStreamClosed, "HEADERS for stream %d, which is over", st.id)
	}
	if st.hasEnded() {
		bad.Code = h2.ErrCodeStreamClosed
		return bad
	}
	if len(f.PseudoFields()) > 0 || !f.StreamEnded() {
		return bad
	}
	if code, ok := st.receive(nil, true); !ok {
		bad.Code = code
		return bad
	}
	if st.c.stays(st) {
		st.c.forget(st)
	}
	return nil
}

// parse makes the request. A status other than 0 is our own answer to it; an
// error means that it is malformed (RFC 9113 §8.1.1).
func (st *stream) parse(f *h2.MetaHeadersFrame) (status int, err error) {
	cfg := &st.c.s.config
	if len(f.Fields) > cfg.MaxFields+4 {
		return 431, nil
	}
	r := &st.req
	r.Source, r.Proto, r.Inform = st.c.from, "HTTP/2", st.inform
	authority, hosts, connect := "", 0, ""
	for _, field := range f.PseudoFields() {
		switch field.Name {
		case ":method":
			r.Method = field.Value
		case ":path":
			r.Target = field.Value
		case ":authority":
			authority = field.Value
			hosts++
		case ":scheme":
			if !message.EqualFold(field.Value, "http") && !message.EqualFold(field.Value, "https") {
				return 0, fmt.Errorf(":scheme %q: want http or https", field.Value)
			}
		case ":protocol":
			connect = field.Value
		default:
			return 0, fmt.Errorf("pseudo-header %q", field.Name)
		}
	}
	switch isConnect := r.Method == "CONNECT"; {
	case isConnect && connect == "":
		return 405, nil
	case isConnect && (connect != "websocket" || cfg.Relay == nil):
		return 501, nil // RFC 9220 §3
	case isConnect:
		r.Method, r.Upgrade = "GET", true
	case connect != "":
		return 0, fmt.Errorf(":protocol with %s", r.Method)
	}
	if !message.IsToken(r.Method) || f.PseudoValue("scheme") == "" || hosts == 1 && authority == "" {
		return 0, fmt.Errorf("request without method, scheme or authority")
	}
	if len(r.Target) > cfg.MaxLine {
		return 414, nil
	}
	if r.Target != "*" || r.Method != "OPTIONS" {
		if err := message.CheckPath(r.Target); err != nil {
			return 0, err
		}
	}
	if authority != "" {
		if r.Authority, err = message.ParseAuthority(authority); err != nil {
			return 400, nil // said, as a reset would have some clients try again
		}
	}
	return st.parseFields(f)
}

// parseFields checks the fields and takes those that go on.
func (st *stream) parseFields(f *h2.MetaHeadersFrame) (status int, err error) {
	r := &st.req
	st.declared = -1
	cookie := -1
	for _, field := range f.RegularFields() {
		name, value := field.Name, field.Value
		if !message.IsToken(name) || !message.IsValue(value) {
			return 0, fmt.Errorf("field %q: malformed", name)
		}
		if len(name)+len(value) > st.c.s.config.MaxLine {
			return 431, nil
		}
		switch name {
		case "host":
			if err := st.host(value); err != nil {
				return 0, err
			}
			continue
		case "content-length":
			n, err := message.ParseLength(value)
			if err != nil || st.declared >= 0 {
				return 0, fmt.Errorf("content-length %q: want one number", value)
			}
			st.declared = n
			continue
		case "expect":
			if !message.EqualFold(value, "100-continue") {
				return 417, nil
			}
			r.Expect = !f.StreamEnded()
			continue
		case "te":
			if value != "trailers" {
				return 0, fmt.Errorf("te %q: want trailers", value)
			}
			r.Trailers = true
			continue
		case "trailer":
			continue
		case "cookie":
			// Many servers read the first line only: RFC 9113 §8.2.3.
			if cookie >= 0 {
				r.Header[cookie].Value += "; " + value
				continue
			}
			cookie = len(r.Header)
		}
		if message.IsHop(name) {
			return 0, fmt.Errorf("field %q belongs to HTTP/1", name)
		}
		r.Header.Add(name, value)
	}
	if r.Authority.Text == "" {
		return 0, fmt.Errorf("request without host")
	}
	return 0, st.setLength(f.StreamEnded())
}

// host takes a Host field, which must say what :authority says.
func (st *stream) host(value string) error {
	a, err := message.ParseAuthority(value)
	if err != nil {
		return err
	}
	if st.hosts++; st.hosts > 1 || st.req.Authority.Text != "" && st.req.Authority != a {
		return fmt.Errorf("host %q beside another", value)
	}
	st.req.Authority = a
	return nil
}

// setLength finds the length of the content (RFC 9113 §8.1.1).
func (st *stream) setLength(ended bool) error {
	r := &st.req
	st.ended = ended
	switch {
	case r.Upgrade && (ended || st.declared >= 0):
		return fmt.Errorf("websocket with content-length, or without content")
	case r.Upgrade:
		r.Expect = false
		st.key = message.NewWebSocketKey(r)
	case ended && st.declared > 0:
		return fmt.Errorf("content-length %d without content", st.declared)
	case ended || st.declared == 0:
		r.Expect = false
	default:
		r.Length, r.Body = st.declared, st
	}
	return nil
}
