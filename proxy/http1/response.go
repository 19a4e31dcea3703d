package http1

import (
	"strings"

	"genkan/proxy/message"
)

// Limits of what a backend may send before its final answer.
const (
	maxInterim      = 16
	maxInterimBytes = 64 << 10
)

// responseBounds are wider than a client's: a backend's cookies are long.
var responseBounds = bounds{line: 32 << 10, head: 64 << 10, fields: 500}

// readResponse reads heads until the final one and prepares the body.
func (c *backendConn) readResponse(r *message.Request) (*message.Response, error) {
	c.waitFor(true)
	defer c.waitFor(false)
	total := 0
	for interim := 0; ; interim++ {
		head, err := c.readHead(responseBounds, 0)
		c.bytes = c.bytes || head != "" || len(c.unread()) > 0
		if err != nil {
			return nil, err
		}
		total += len(head)
		if interim > maxInterim || total > maxInterimBytes+responseBounds.head {
			return nil, bad("more than %d interim answers", maxInterim)
		}
		f, err := parseResponse(head, &c.resp)
		if err != nil {
			return nil, err
		}
		switch status := c.resp.Status; {
		case status == 101:
			return c.upgraded(r, f)
		case status == 100:
			c.sender.decide(true)
		case status == 103 && r.Inform != nil:
			message.StripHops(&c.resp.Header)
			r.Inform(103, c.resp.Header)
		case status >= 200:
			c.sender.decide(false)
			return c.final(r, f)
		}
	}
}

// waitFor begins or ends the wait for an answer's head.
func (c *backendConn) waitFor(on bool) {
	c.waitMu.Lock()
	defer c.waitMu.Unlock()
	c.waiting = on
	if on {
		c.guard.Read(c.t.config.HeadTimeout)
	} else {
		c.guard.Read(0)
	}
}

// responseFraming is what the fields of an answer said about its end.
type responseFraming struct {
	http11                  bool
	length                  int64 // -1: not said
	codings                 int
	coding, upgrade         string
	close, keep, connection bool // connection: "upgrade" is in Connection
}

// parseResponse reads a head into resp, strictly: whatever a backend sends
// that is not HTTP/1.1 by RFC 9112 could be two answers to the next reader.
func parseResponse(head string, resp *message.Response) (responseFraming, error) {
	f := responseFraming{length: -1}
	line, rest := cutLine(head)
	if len(line) < 12 || !isDigit(line[9]) || !isDigit(line[10]) || !isDigit(line[11]) || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return f, bad("status line %q: want \"HTTP/1.1 200 reason\"", clip(line))
	}
	switch line[:8] {
	case "HTTP/1.1":
		f.http11 = true
	case "HTTP/1.0":
	default:
		return f, bad("status line %q: want HTTP/1.1 or HTTP/1.0", clip(line))
	}
	status := int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	reason := strings.TrimPrefix(line[12:], " ")
	if status < 100 || status > 599 || !message.IsValue(message.TrimBlank(reason)) {
		return f, bad("status line %q: want a status from 100 to 599", clip(line))
	}
	*resp = message.Response{Status: status, Reason: message.TrimBlank(reason), Header: resp.Header[:0]}
	for rest != "\r\n" {
		line, rest = cutLine(rest)
		field, err := parseField(line)
		if err != nil {
			return f, err
		}
		known, err := f.note(field)
		if err != nil {
			return f, err
		}
		if !known {
			resp.Header = append(resp.Header, field)
		}
	}
	return f, nil
}

func (f *responseFraming) note(field message.Field) (known bool, err error) {
	switch name := field.Name; len(name) {
	case 7:
		if message.EqualFold(name, "Upgrade") {
			f.upgrade = field.Value
		}
	case 10:
		if message.EqualFold(name, "Connection") {
			f.close = f.close || message.HasToken(field.Value, "close")
			f.keep = f.keep || message.HasToken(field.Value, "keep-alive")
			f.connection = f.connection || message.HasToken(field.Value, "upgrade")
		}
	case 14:
		if message.EqualFold(name, "Content-Length") {
			n, err := message.ParseLength(field.Value)
			if err != nil {
				return true, bad("%v", err)
			}
			// The same length twice is a fault of old servers that cannot
			// be misread (RFC 9112 §6.3); two lengths can.
			if f.length >= 0 && f.length != n {
				return true, bad("Content-Length %d and %d in one answer", f.length, n)
			}
			f.length = n
			return true, nil
		}
	case 17:
		if message.EqualFold(name, "Transfer-Encoding") {
			f.coding = field.Value
			f.codings++
			return true, nil
		}
	}
	return false, nil
}

// upgraded checks a 101: only where we asked, and only to websocket.
func (c *backendConn) upgraded(r *message.Request, f responseFraming) (*message.Response, error) {
	if !r.Upgrade {
		return nil, bad("101 (Switching Protocols) that nobody asked for")
	}
	if !f.connection || !message.EqualFold(f.upgrade, "websocket") || f.length > 0 || f.codings > 0 {
		return nil, bad("101 (Switching Protocols) to %q: want websocket", clip(f.upgrade))
	}
	message.StripHops(&c.resp.Header)
	c.resp.Upgraded, c.resp.Early = c.conn, append([]byte(nil), c.unread()...)
	c.r = c.w
	c.resp.Release = c
	c.body.reset(&c.wire, fixed, 0)
	return &c.resp, nil
}

// final finds the end of the answer (RFC 9112 §6.3).
func (c *backendConn) final(r *message.Request, f responseFraming) (*message.Response, error) {
	c.keep = !f.close && (f.http11 || f.keep)
	resp := &c.resp
	resp.Release = c
	message.StripHops(&resp.Header)
	c.body.pace = pace{idle: c.t.config.BodyIdle}
	c.body.bounds = responseBounds
	switch {
	case f.codings > 0 && (!f.http11 || f.codings > 1 || !message.EqualFold(f.coding, "chunked")):
		return nil, bad("Transfer-Encoding %q: want chunked, and HTTP/1.1", clip(f.coding))
	case message.NoBody(r.Method, resp.Status):
		resp.Length = f.length
		if resp.Status == 204 || f.codings > 0 {
			resp.Length = -1
		}
		// What an answer without content says of its length is a lie only
		// after 204: bytes that follow are no answer to anybody.
		c.keep = c.keep && !(resp.Status == 204 && f.length > 0)
		c.body.reset(&c.wire, fixed, 0)
		return resp, nil
	case f.codings > 0:
		// Chunked wins over a length (RFC 9112 §6.3), but who sends both is
		// not to be trusted with another request.
		c.keep = c.keep && f.length < 0
		resp.Length = -1
		c.body.reset(&c.wire, chunked, 0)
	case f.length >= 0:
		resp.Length = f.length
		c.body.reset(&c.wire, fixed, f.length)
		if f.length == 0 {
			return resp, nil
		}
	default:
		resp.Length = -1
		c.keep = false
		c.body.reset(&c.wire, untilShut, 0)
	}
	resp.Body = &c.body
	return resp, nil
}
