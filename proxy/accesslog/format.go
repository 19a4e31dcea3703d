package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"

	"genkan/acl"
)

// appendCombined writes e as Apache's and nginx's "combined" does. A forward's
// entry has a made-up request, so that tools for the format can read it.
func appendCombined(b []byte, e *Entry) []byte {
	b = appendAddr(b, e.Client)
	b = append(b, " - "...)
	b = appendBare(b, e.User)
	b = append(b, ' ', '[')
	b = e.Began.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	switch {
	case e.Forward != "":
		b = append(b, "FORWARD "...)
		b = appendEscaped(b, e.Forward)
		b = append(b, ' ')
		b = append(b, e.Network...)
	case e.Method == "":
		b = append(b, '-')
	default:
		b = appendEscaped(b, e.Method)
		b = append(b, ' ')
		b = appendEscaped(b, e.Target)
		b = append(b, ' ')
		b = append(b, e.Proto...)
		if e.Proto == "HTTP/2" || e.Proto == "HTTP/3" {
			b = append(b, ".0"...)
		}
	}
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.Sent, 10)
	b = append(b, ` "`...)
	b = appendEscaped(b, orDash(e.Referer))
	b = append(b, `" "`...)
	b = appendEscaped(b, orDash(e.Agent))
	return append(b, '"')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func appendAddr(b []byte, a acl.Addr) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return a.Netip().AppendTo(b)
}

// appendBare writes a word that stands without quotes: "-" where it is empty.
func appendBare(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '[' || c == ']' {
			b = appendHex(b, c)
		} else {
			b = append(b, c)
		}
	}
	if s == "" {
		b = append(b, '-')
	}
	return b
}

// appendEscaped writes what stands in quotes, as Apache does: control bytes
// and those above ASCII as \xHH, so that nobody's bytes can end the line, the
// quotes, or a terminal's mood.
func appendEscaped(b []byte, s string) []byte {
	s = s[:min(len(s), maxField)]
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = appendHex(b, c)
		}
	}
	return append(b, s[from:]...)
}

const hexDigits = "0123456789abcdef"

func appendHex(b []byte, c byte) []byte {
	return append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
}

// appendJSON writes e as one JSON object: what does not apply is left out,
// times are in seconds.
func appendJSON(b []byte, e *Entry, front string) []byte {
	b = append(b, `{"time":"`...)
	b = e.Began.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, '"')
	b = appendString(b, "front", front)
	b = appendString(b, "site", e.Site)
	b = appendString(b, "forward", e.Forward)
	if e.Client.IsValid() {
		b = append(b, `,"client":"`...)
		b = appendAddr(b, e.Client)
		b = append(b, `","family":"`...)
		b = append(b, e.family()...)
		b = append(b, '"')
	}
	b = appendInt(b, "port", int64(e.Port))
	if e.Peer.IsValid() {
		b = append(b, `,"peer":"`...)
		b = appendAddr(b, e.Peer)
		b = append(b, '"')
	}
	b = appendBool(b, "tunnel", e.Tunnel)
	b = appendString(b, "user", e.User)
	b = appendString(b, "network", e.Network)
	b = appendBool(b, "tls", e.TLS)
	b = appendString(b, "proto", e.Proto)
	b = appendString(b, "method", e.Method)
	b = appendString(b, "host", e.Host)
	b = appendString(b, "target", e.Target)
	b = appendString(b, "referer", e.Referer)
	b = appendString(b, "agent", e.Agent)
	b = appendInt(b, "status", int64(e.Status))
	b = append(b, `,"sent":`...)
	b = strconv.AppendInt(b, e.Sent, 10)
	b = appendInt(b, "received", e.Received)
	b = append(b, `,"verdict":"`...)
	if e.Allowed {
		b = append(b, "allow\""...)
	} else {
		b = append(b, "deny\""...)
	}
	b = appendString(b, "rule", e.Rule)
	b = appendString(b, "at", e.Place)
	b = appendString(b, "backend", e.Backend)
	if e.Pool.IsValid() {
		b = append(b, `,"pool":"`...)
		b = appendAddr(b, e.Pool)
		b = append(b, '"')
	}
	b = appendSeconds(b, "lasted", e.Lasted)
	if e.Waited > 0 {
		b = appendSeconds(b, "waited", e.Waited)
	}
	b = appendString(b, "cause", e.Cause)
	return append(b, '}')
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendInt(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

func appendBool(b []byte, key string, v bool) []byte {
	return strconv.AppendBool(appendKey(b, key), v)
}

func appendSeconds(b []byte, key string, d time.Duration) []byte {
	return strconv.AppendFloat(appendKey(b, key), d.Round(time.Microsecond).Seconds(), 'f', 6, 64)
}

// maxField bounds what of one text is written, in bytes: all of them together,
// escaped, are a line of maxLine.
const maxField = 4096

// appendString writes a JSON string (RFC 8259 §7), in ASCII: bytes that are no
// UTF-8 become U+FFFD.
func appendString(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	s = s[:min(len(s), maxField)]
	b = append(appendKey(b, key), '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case r > 0xffff:
			r -= 0x10000
			b = appendUnit(appendUnit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = appendUnit(b, r)
		}
		i += n
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// appendUnit writes one UTF-16 unit.
func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
