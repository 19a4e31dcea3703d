package message

import (
	"strings"

	"genkan/proxy/web"
)

// IsHop reports whether name belongs to one connection only (RFC 9110
// §7.6.1) or to framing, which every hop makes anew: it is never passed on.
func IsHop(name string) bool {
	switch len(name) {
	case 2:
		return EqualFold(name, "TE")
	case 7:
		return EqualFold(name, "Upgrade") || EqualFold(name, "Trailer")
	case 10:
		return EqualFold(name, "Connection") || EqualFold(name, "Keep-Alive")
	case 14:
		return EqualFold(name, "Content-Length") || EqualFold(name, "HTTP2-Settings")
	case 16:
		return EqualFold(name, "Proxy-Connection")
	case 17:
		return EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// StripHops removes hop-by-hop fields and those that Connection names, which
// must happen before any field of our own is added: else a client could
// write "Connection: X-Real-IP" and take ours away.
// Host is not a field that Connection can name.
func StripHops(h *Header) {
	listed := ""
	for _, f := range *h {
		if !EqualFold(f.Name, "Connection") {
			continue
		}
		if listed != "" {
			listed += ","
		}
		listed += f.Value
	}
	if plainConnection(listed) {
		listed = ""
	}
	kept := (*h)[:0]
	for _, f := range *h {
		if IsHop(f.Name) || listed != "" && HasToken(listed, f.Name) {
			continue
		}
		kept = append(kept, f)
	}
	clear((*h)[len(kept):])
	*h = kept
}

// plainConnection reports whether a Connection value names no field that
// IsHop would not drop anyway.
func plainConnection(s string) bool {
	return EqualFold(s, "close") || EqualFold(s, "keep-alive") || EqualFold(s, "upgrade")
}

// HasToken reports whether the comma-separated list has token in it.
func HasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if EqualFold(TrimBlank(item), token) {
			return true
		}
	}
	return false
}

// KeepTrailer reports whether a trailer field may be passed on. Fields that
// mean framing, routing, authentication, or who the client is are only
// believed in headers (RFC 9110 §6.5.1).
func KeepTrailer(name string) bool {
	f := fold(name)
	if IsHop(f) || web.Claims(f) {
		return false
	}
	switch f {
	case "host", "authorization", "proxy-authorization", "cookie", "set-cookie",
		"content-type", "content-encoding", "content-range", "location", "expect",
		"cache-control", "range", "age", "expires", "date", "vary", "retry-after":
		return false
	}
	return true
}
