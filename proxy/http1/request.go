package http1

import (
	"fmt"
	"strings"

	"genkan/proxy/message"
)

// framing is what the fields of a request said about the connection and the
// body, until all of them were seen.
type framing struct {
	http11             bool
	host, length, te   string
	hosts, lengths, ts int // how many lines
	close, keep        bool
	upgrade            bool // Connection: upgrade
	trailers           bool // TE: trailers
	websocket          bool // Upgrade: websocket and nothing else
	expect             string
	expects, upgrades  int
}

// parseRequest reads a head into r and reports whether the connection may
// stay open afterwards. r.Body is left for the caller.
// It refuses what RFC 9112 lets a server refuse, rather than repair it: the
// next server may repair it in another way.
func parseRequest(head string, r *message.Request) (keep bool, err error) {
	line, rest := cutLine(head)
	var f framing
	if f.http11, err = parseRequestLine(line, r); err != nil {
		return false, err
	}
	for rest != "\r\n" {
		line, rest = cutLine(rest)
		field, err := parseField(line)
		if err != nil {
			return false, err
		}
		if !f.note(field) {
			r.Header = append(r.Header, field)
		}
	}
	if err := f.setAuthority(r); err != nil {
		return false, err
	}
	if err := f.setLength(r); err != nil {
		return false, err
	}
	if err := f.setExpect(r); err != nil {
		return false, err
	}
	if r.Method == "CONNECT" {
		// A tunnel past every rule; on a pooled backend connection other
		// clients' answers would come out of it.
		return false, &RequestError{Status: 405, Msg: "CONNECT is not served"}
	}
	r.Upgrade = f.upgrade && f.websocket && f.upgrades == 1 && f.http11 && r.Method == "GET" && r.Length == 0
	r.Trailers = f.trailers
	message.StripHops(&r.Header)
	return !f.close && (f.http11 || f.keep), nil
}

// parseRequestLine reads "METHOD TARGET HTTP/1.1": two single spaces, nothing
// else between (RFC 9112 §3).
func parseRequestLine(line string, r *message.Request) (http11 bool, err error) {
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !strings.Contains(line, " HTTP/") {
		return false, &RequestError{Status: 400, Silent: true, Msg: fmt.Sprintf("request line %q: no version of HTTP", clip(line))}
	}
	if !ok || !ok2 || !message.IsToken(method) || len(method) > 64 {
		return false, bad("request line %q: want METHOD TARGET VERSION", clip(line))
	}
	switch version {
	case "HTTP/1.1":
		http11 = true
	case "HTTP/1.0":
	default:
		if isVersion(version) {
			return false, &RequestError{Status: 505, Msg: "version " + version + " is not served here"}
		}
		return false, bad("request line %q: want HTTP/1.1 or HTTP/1.0 at its end", clip(line))
	}
	r.Proto, r.Method, r.Target = version, method, target
	return http11, nil
}

func isVersion(s string) bool {
	return len(s) == 8 && s[:5] == "HTTP/" && isDigit(s[5]) && s[6] == '.' && isDigit(s[7])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// note takes down a field that concerns this connection or the framing, and
// reports whether it is thereby done with.
func (f *framing) note(field message.Field) bool {
	switch name := field.Name; len(name) {
	case 2:
		if message.EqualFold(name, "TE") {
			f.trailers = f.trailers || message.HasToken(field.Value, "trailers")
			return true
		}
	case 4:
		if message.EqualFold(name, "Host") {
			f.host, f.hosts = field.Value, f.hosts+1
			return true
		}
	case 6:
		if message.EqualFold(name, "Expect") {
			f.expect, f.expects = field.Value, f.expects+1
			return true
		}
	case 7:
		if message.EqualFold(name, "Upgrade") {
			f.websocket, f.upgrades = message.EqualFold(field.Value, "websocket"), f.upgrades+1
			return true
		}
	case 10:
		if message.EqualFold(name, "Connection") {
			f.close = f.close || message.HasToken(field.Value, "close")
			f.keep = f.keep || message.HasToken(field.Value, "keep-alive")
			f.upgrade = f.upgrade || message.HasToken(field.Value, "upgrade")
		}
	case 14:
		if message.EqualFold(name, "Content-Length") {
			f.length, f.lengths = field.Value, f.lengths+1
			return true
		}
	case 17:
		if message.EqualFold(name, "Transfer-Encoding") {
			f.te, f.ts = field.Value, f.ts+1
			return true
		}
	}
	return false
}

// setAuthority finds the one host of the request (RFC 9112 §3.2, §3.3). A
// target in absolute form wins over Host, which must be valid all the same.
func (f *framing) setAuthority(r *message.Request) error {
	if f.hosts > 1 || f.hosts == 0 && f.http11 {
		return bad("%d Host fields: want one", f.hosts)
	}
	if f.hosts == 1 {
		a, err := message.ParseAuthority(f.host)
		if err != nil {
			return bad("%v", err)
		}
		r.Authority = a
	}
	switch {
	case r.Target[:min(1, len(r.Target))] == "/":
	case r.Method == "CONNECT":
		return nil // refused below, whatever its target
	case r.Target == "*" && r.Method == "OPTIONS":
		return nil
	default:
		authority, path, err := message.SplitAbsolute(r.Target)
		if err != nil {
			return bad("%v", err)
		}
		if r.Authority, err = message.ParseAuthority(authority); err != nil {
			return bad("%v", err)
		}
		if r.Target = path; path == "" {
			r.Target = "/"
			if r.Method == "OPTIONS" {
				r.Target = "*"
				return nil
			}
		}
	}
	if err := message.CheckPath(r.Target); err != nil {
		return bad("%v", err)
	}
	return nil
}

// setLength finds the length of the body (RFC 9112 §6.3). Both framings at
// once, a coding but chunked, and chunked in HTTP/1.0 are each how one
// request looks like two to somebody: refused.
func (f *framing) setLength(r *message.Request) error {
	switch {
	case f.ts > 0 && f.lengths > 0:
		return bad("both Transfer-Encoding and Content-Length")
	case f.ts > 1 || f.lengths > 1:
		return bad("framing fields repeated")
	case f.ts == 1 && !f.http11:
		return bad("Transfer-Encoding in HTTP/1.0")
	case f.ts == 1 && !message.EqualFold(f.te, "chunked"):
		return bad("Transfer-Encoding %q: want chunked", clip(f.te))
	case f.ts == 1:
		r.Length = -1
	case f.lengths == 1:
		n, err := message.ParseLength(f.length)
		if err != nil {
			return bad("%v", err)
		}
		r.Length = n
	}
	return nil
}

// setExpect reads Expect (RFC 9110 §10.1.1): HTTP/1.0 is not understood to
// mean it, and without a body there is nothing to wait with.
func (f *framing) setExpect(r *message.Request) error {
	if f.expects == 0 || !f.http11 {
		return nil
	}
	if f.expects > 1 || !message.EqualFold(f.expect, "100-continue") {
		return &RequestError{Status: 417, Msg: "Expect " + clip(f.expect) + ": want 100-continue"}
	}
	r.Expect = r.Length != 0
	return nil
}
