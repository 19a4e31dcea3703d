package http1

import (
	"bytes"
	"io"
	"strings"

	"genkan/proxy/message"
)

// Where a chunked body is.
const (
	inSize    = iota // before a chunk-size line
	inData           // inside chunk-data
	inEnd            // before the CR LF behind chunk-data
	inTrailer        // behind the last chunk
)

// Limits of the chunked framing itself. A chunk's extension may be long, but
// not all of them (CVE-2023-39326: a body of one-byte chunks with kilobytes
// of extensions each).
const (
	maxSizeLine   = 1024
	maxExtensions = 16 << 10
)

type chunkState struct {
	in         int
	extensions int // bytes of chunk extensions so far
	trailer    int // bytes of trailer lines so far
	lines      int // trailer lines so far
}

// readChunked decodes RFC 9112 §7.1. Lines end with CR LF only, as a lone LF
// in chunk framing is a request boundary to some servers (CVE-2025-22871).
func (b *body) readChunked(p []byte) (int, error) {
	for {
		switch b.chunk.in {
		case inSize:
			if err := b.readSize(); err != nil {
				return 0, err
			}
		case inData:
			n, err := b.take(p, b.left)
			if b.left -= int64(n); b.left == 0 {
				b.chunk.in = inEnd
			}
			return n, short(err)
		case inEnd:
			for len(b.w.unread()) < 2 {
				if _, err := b.wait(b.fill); err != nil {
					return 0, short(err)
				}
			}
			if d := b.w.unread(); d[0] != '\r' || d[1] != '\n' {
				return 0, bad("chunk-data not followed by CR LF")
			}
			b.w.r += 2
			b.chunk.in = inSize
		case inTrailer:
			if err := b.readTrailer(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
	}
}

// chunksReady is Ready for chunked content.
func (b *body) chunksReady() int {
	d := b.w.unread()
	if b.chunk.in == inData {
		return int(min(int64(len(d)), b.left))
	}
	if b.chunk.in == inEnd && len(d) > 2 {
		d = d[2:]
	}
	i := bytes.IndexByte(d, '\n')
	switch {
	case i < 0:
		return 0
	case d[0] != '0':
		return len(d) - i - 1
	case bytes.Contains(d[max(i-1, 0):], []byte("\r\n\r\n")):
		return 1
	}
	return 0
}

// line returns the next line without its end. It is valid until the next read.
func (b *body) line(max int) ([]byte, error) {
	scan := 0
	for {
		data := b.w.unread()
		if i := bytes.IndexByte(data[scan:], '\n'); i >= 0 {
			end := scan + i
			if end == 0 || data[end-1] != '\r' {
				return nil, bad("line in chunked framing ends with LF without CR")
			}
			b.w.r += end + 1
			return data[:end-1], nil
		}
		if len(data) > max {
			return nil, bad("line in chunked framing longer than %d bytes", max)
		}
		scan = len(data)
		if _, err := b.wait(b.fill); err != nil {
			return nil, short(err)
		}
	}
}

// readSize reads chunk-size and drops extensions, which nobody uses and which
// are read differently everywhere.
func (b *body) readSize() error {
	line, err := b.line(maxSizeLine)
	if err != nil {
		return err
	}
	var n int64
	i := 0
	for ; i < len(line); i++ {
		d := unhex(line[i])
		if d < 0 {
			break
		}
		if n >= 1<<58 {
			return bad("chunk-size %q: too large", clip(string(line)))
		}
		n = n<<4 | int64(d)
	}
	if i == 0 || len(line) > maxSizeLine {
		return bad("chunk-size %q: want hex digits", clip(string(line)))
	}
	if err := b.checkExtension(line[i:]); err != nil {
		return err
	}
	b.left = n
	if b.chunk.in = inData; n == 0 {
		b.chunk.in = inTrailer
	}
	return nil
}

// checkExtension checks what stands behind a chunk-size: nothing or extensions.
func (b *body) checkExtension(ext []byte) error {
	if len(ext) == 0 {
		return nil
	}
	if b.chunk.extensions += len(ext); b.chunk.extensions > maxExtensions {
		return bad("more than %d bytes of chunk extensions", maxExtensions)
	}
	if !areExtensions(string(ext)) {
		return bad("chunk-size followed by %q: want CR LF or an extension", clip(string(ext)))
	}
	return nil
}

// areExtensions reports whether s is *( BWS ";" BWS name [ BWS "=" BWS value ] )
// of RFC 9112 §7.1.1. Nobody uses them; to some servers a quoted string that is
// open at the end of the line goes on in the next.
func areExtensions(s string) bool {
	for s != "" {
		var name, value int
		if s = trimFront(s); s == "" || s[0] != ';' {
			return false
		}
		s = trimFront(s[1:])
		if name = tokenLength(s); name == 0 {
			return false
		}
		s = s[name:]
		if t := trimFront(s); t != "" && t[0] == '=' {
			s = trimFront(t[1:])
			if value = max(tokenLength(s), quotedLength(s)); value == 0 {
				return false
			}
			s = s[value:]
		}
	}
	return true
}

func trimFront(s string) string { return strings.TrimLeft(s, " \t") }

// tokenLength is the length of the token that s begins with.
func tokenLength(s string) int {
	n := 0
	for n < len(s) && message.IsTokenByte(s[n]) {
		n++
	}
	return n
}

// quotedLength is the length of the quoted string that s begins with, 0 where
// there is none (RFC 9110 §5.6.4).
func quotedLength(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		}
		if i < len(s) && (s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f) {
			return 0
		}
	}
	return 0
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// readTrailer reads the trailer section (RFC 9112 §7.1.2) and keeps of it
// what may be passed on.
func (b *body) readTrailer() error {
	for {
		raw, err := b.line(b.bounds.line)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return nil
		}
		b.chunk.lines++
		b.chunk.trailer += len(raw) + 2
		if b.chunk.lines > b.bounds.fields || b.chunk.trailer > b.bounds.head {
			return &RequestError{Status: 431, Msg: "trailer section too large"}
		}
		field, err := parseField(string(raw))
		if err != nil {
			return err
		}
		if message.KeepTrailer(field.Name) {
			b.fields = append(b.fields, field)
		}
	}
}
