package http1

import (
	"bytes"
	"fmt"
	"time"

	"genkan/proxy/message"
)

// A RequestError is why a client's bytes are not a request. The connection
// ends after the answer, as nobody knows where the next message begins.
type RequestError struct {
	Status int    // of the answer: 400, 405, 408, 413, 414, 417, 431 or 505
	Msg    string // for the log; may quote the client's bytes with %q
	Silent bool   // the bytes were not HTTP/1 at all: no answer would be read
}

func (e *RequestError) Error() string { return e.Msg }

func bad(format string, args ...any) *RequestError {
	return &RequestError{Status: 400, Msg: fmt.Sprintf(format, args...)}
}

// bounds limit one message's head.
type bounds struct {
	line   int // bytes of one line without its end
	head   int // bytes of all lines
	fields int // number of field lines
}

// maxEmptyLines is how many empty lines before a message are skipped. One has
// to be (RFC 9112 §2.2), as old clients send CR LF behind a body; more, which
// mean nothing else to anybody, are bounded.
const maxEmptyLines = 4

// readHead reads start line, fields and the empty line, and takes them from
// the wire. Every line ends with CR LF: a lone LF is a line's end to some
// servers and not to others (RFC 9112 §2.2 allows to refuse it). A few empty
// lines before the start line are skipped.
// Where bytes are missing, all of them have to come within the given time; 0
// leaves the deadline as it is. Errors are a *RequestError or the connection's.
func (w *wire) readHead(b bounds, within time.Duration) (string, error) {
	line, scan, lines := 0, 0, 0 // offsets from w.r, and lines seen
	skipped := 0
	for {
		data := w.unread()
		if len(data) > 0 && lines == 0 && !message.IsTokenByte(data[0]) && data[0] != '\r' {
			return "", bad("first byte %q begins no message", data[:1])
		}
		i := bytes.IndexByte(data[scan:], '\n')
		if i < 0 {
			scan = len(data)
			if err := tooLong(scan-line-1, scan, lines, b); err != nil {
				return "", err
			}
			w.grow(b.head + 2)
			if within > 0 {
				w.guard.Read(within)
				within = 0
			}
			if err := w.fill(); err != nil {
				return "", err
			}
			continue
		}
		end := scan + i
		if end == line || data[end-1] != '\r' {
			return "", bad("line %d ends with LF without CR", lines+1)
		}
		if err := tooLong(end-1-line, end+1, lines, b); err != nil {
			return "", err
		}
		switch {
		case end-1 > line:
			lines++
			line, scan = end+1, end+1
		case lines == 0 && skipped < maxEmptyLines:
			skipped++
			w.r += 2
			line, scan = 0, 0
		case lines == 0:
			return "", bad("empty line in place of a message")
		default:
			head := string(data[:end+1])
			w.r += end + 1
			return head, nil
		}
	}
}

// tooLong checks a line of n bytes, the line number lines, at the end of
// total bytes of head.
func tooLong(n, total, lines int, b bounds) error {
	switch {
	case n > b.line && lines == 0:
		return &RequestError{Status: 414, Msg: fmt.Sprintf("request line longer than %d bytes", b.line)}
	case n > b.line:
		return &RequestError{Status: 431, Msg: fmt.Sprintf("field line longer than %d bytes", b.line)}
	case total > b.head:
		return &RequestError{Status: 431, Msg: fmt.Sprintf("header longer than %d bytes", b.head)}
	case lines > b.fields+1:
		return &RequestError{Status: 431, Msg: fmt.Sprintf("more than %d fields", b.fields)}
	}
	return nil
}

// cutLine takes one line off s, which readHead has checked to end with CR LF.
func cutLine(s string) (line, rest string) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\n' {
			return s[:i-1], s[i+1:]
		}
	}
	return s, ""
}

// parseField splits one field line. White space before the colon, in front of
// the name (obs-fold) and control bytes are errors (RFC 9112 §5, RFC 9110 §5.5).
func parseField(line string) (message.Field, error) {
	colon := 0
	for colon < len(line) && message.IsTokenByte(line[colon]) {
		colon++
	}
	switch {
	case colon == len(line):
		return message.Field{}, bad("field %q has no colon", clip(line))
	case colon == 0 && (line[0] == ' ' || line[0] == '\t'):
		return message.Field{}, bad("field continued on a second line (obs-fold)")
	case colon == 0 || line[colon] != ':':
		return message.Field{}, bad("field %q: %q is not a byte of a name", clip(line), line[colon:colon+1])
	}
	f := message.Field{Name: line[:colon], Value: message.TrimBlank(line[colon+1:])}
	if !message.IsValue(f.Value) {
		return message.Field{}, bad("field %q: control byte in the value", f.Name)
	}
	return f, nil
}

// clip shortens a stranger's text for an error.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
