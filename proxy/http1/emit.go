package http1

import (
	"net/netip"
	"strconv"

	"genkan/proxy/message"
)

// appendField writes one field line.
func appendField(p []byte, name, value string) []byte {
	p = append(p, name...)
	p = append(p, ':', ' ')
	p = append(p, value...)
	return append(p, '\r', '\n')
}

func appendFields(p []byte, h message.Header) []byte {
	for i := range h {
		p = appendField(p, h[i].Name, h[i].Value)
	}
	return p
}

func appendLength(p []byte, n int64) []byte {
	p = append(p, "Content-Length: "...)
	p = strconv.AppendInt(p, n, 10)
	return append(p, '\r', '\n')
}

// appendRequest writes a request's head for a backend: one Host, one framing
// field, both made from what was understood, never the client's own text.
// The backend's address stands in where the client (HTTP/1.0) named no host.
func appendRequest(p []byte, r *message.Request, backend netip.AddrPort) []byte {
	p = append(p, r.Method...)
	p = append(p, ' ')
	p = append(p, r.Target...)
	p = append(p, " HTTP/1.1\r\nHost: "...)
	if r.Authority.Text != "" {
		p = append(p, r.Authority.Text...)
	} else {
		p = backend.AppendTo(p)
	}
	p = append(p, '\r', '\n')
	p = appendFields(p, r.Header)
	switch {
	case r.Upgrade:
		p = append(p, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case r.Length < 0:
		p = append(p, "Transfer-Encoding: chunked\r\n"...)
	case r.Length > 0 || r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH":
		p = appendLength(p, r.Length)
	}
	if r.Expect {
		p = append(p, "Expect: 100-continue\r\n"...)
	}
	return append(p, '\r', '\n')
}

// appendStatus writes a status line.
func appendStatus(p []byte, status int, reason string) []byte {
	p = append(p, "HTTP/1.1 "...)
	p = strconv.AppendInt(p, int64(status), 10)
	p = append(p, ' ')
	if reason == "" {
		reason = message.StatusText(status)
	}
	p = append(p, reason...)
	return append(p, '\r', '\n')
}

// chunkHead is the room for a chunk-size line in front of chunk-data of at
// most 2^32 bytes; chunkTail that for the CR LF behind it.
const (
	chunkHead = 10
	chunkTail = 2
)

// frameChunk makes a chunk of p[chunkHead:chunkHead+n]: it writes the size
// right before the data and CR LF behind, and returns the whole.
func frameChunk(p []byte, n int) []byte {
	const digits = "0123456789abcdef"
	p[chunkHead-1], p[chunkHead-2] = '\n', '\r'
	i := chunkHead - 2
	for v := n; v > 0 || i == chunkHead-2; v >>= 4 {
		i--
		p[i] = digits[v&15]
	}
	p[chunkHead+n], p[chunkHead+n+1] = '\r', '\n'
	return p[i : chunkHead+n+chunkTail]
}
