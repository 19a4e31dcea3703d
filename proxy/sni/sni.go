// Package sni reads the server name out of a TLS ClientHello, from as many
// records and segments as the client has cut it into, without decrypting or
// taking anything.
//
//	hello, err := sni.Parse(peeked)
//	switch {
//	case errors.Is(err, sni.ErrShort): // wait for more bytes, up to sni.MaxBytes
//	case err != nil:                   // no TLS, or broken
//	default:                           // hello.Name, "" when there is none
//	}
//
// A ClientHello with ECH has the public name of its provider here (RFC 9849):
// the inner name is not for us to see.
package sni

import (
	"encoding/binary"
	"errors"
	"strings"
)

// MaxBytes bounds a ClientHello with its record headers. Browsers send up to
// some 2 kB (post-quantum keys included).
const MaxBytes = 16 << 10

var (
	// ErrShort: so far so good, but the ClientHello goes on.
	ErrShort = errors.New("sni: the ClientHello goes on")
	// ErrNotTLS: the bytes are no ClientHello.
	ErrNotTLS = errors.New("sni: not a TLS ClientHello")
)

// A Hello is what a ClientHello asks for.
type Hello struct {
	// Name is the server name, in lower case and without a dot at its end.
	// Empty: the client names none, or one that is no host name.
	Name string
	ALPN []string // protocols, the client's favourite first
	ECH  bool     // the true name is encrypted, Name is its provider's
}

// TLS numbers: record and handshake types (RFC 8446 §B), extensions (IANA).
const (
	recordHandshake = 22
	typeClientHello = 1

	extensionName = 0
	extensionALPN = 16
	extensionECH  = 0xfe0d
)

// Parse reads the ClientHello that data begins with. It keeps nothing of data.
func Parse(data []byte) (Hello, error) {
	message, err := handshake(data)
	if err != nil {
		return Hello{}, err
	}
	body := reader{rest: message, ok: true}
	body.take(2 + 32) // legacy_version, random
	body.vector(1)    // legacy_session_id
	body.vector(2)    // cipher_suites
	body.vector(1)    // legacy_compression_methods
	var hello Hello
	if !body.ok {
		return Hello{}, ErrNotTLS
	}
	if len(body.rest) == 0 {
		return hello, nil // before RFC 3546 there were no extensions
	}
	extensions := reader{rest: body.vector(2), ok: body.ok}
	for extensions.ok && len(extensions.rest) > 0 {
		kind := extensions.number(2)
		hello.extension(kind, extensions.vector(2))
	}
	if !extensions.ok {
		return Hello{}, ErrNotTLS
	}
	return hello, nil
}

// handshake puts the ClientHello together from its records.
func handshake(data []byte) ([]byte, error) {
	var message []byte
	for {
		if len(message) >= 4 {
			if message[0] != typeClientHello {
				return nil, ErrNotTLS
			}
			length := int(binary.BigEndian.Uint32(message) & 0xffffff)
			if length > MaxBytes {
				return nil, ErrNotTLS
			}
			if len(message) >= 4+length {
				return message[4 : 4+length], nil
			}
		}
		// RFC 8446 §5.1: type, legacy version 3.x, length.
		if len(data) > 0 && data[0] != recordHandshake || len(data) > 1 && data[1] != 3 {
			return nil, ErrNotTLS
		}
		if len(data) < 5 {
			return nil, ErrShort
		}
		length := int(binary.BigEndian.Uint16(data[3:]))
		if length == 0 || length > 1<<14 {
			return nil, ErrNotTLS
		}
		fragment := data[5:min(len(data), 5+length)]
		if len(message) == 0 && fragment != nil && len(fragment) > 0 && fragment[0] != typeClientHello {
			return nil, ErrNotTLS
		}
		message = append(message, fragment...)
		data = data[5+len(fragment):]
		if len(fragment) < length && !complete(message) {
			return nil, ErrShort
		}
	}
}

// complete tells that message has a whole handshake message.
func complete(message []byte) bool {
	return len(message) >= 4 && len(message) >= 4+int(binary.BigEndian.Uint32(message)&0xffffff)
}

// extension takes what one extension says.
func (h *Hello) extension(kind int, data []byte) {
	r := reader{rest: data, ok: true}
	switch kind {
	case extensionName:
		// RFC 6066 §3: a list with one host_name (type 0).
		list := reader{rest: r.vector(2), ok: r.ok}
		for list.ok && len(list.rest) > 0 {
			nameType := list.number(1)
			name := list.vector(2)
			if list.ok && nameType == 0 && h.Name == "" {
				h.Name = hostName(string(name))
			}
		}
	case extensionALPN:
		list := reader{rest: r.vector(2), ok: r.ok}
		for list.ok && len(list.rest) > 0 {
			if protocol := list.vector(1); list.ok {
				h.ALPN = append(h.ALPN, string(protocol))
			}
		}
	case extensionECH:
		h.ECH = true
	}
}

// hostName gives name as routes compare it, or nothing when it is none.
func hostName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > 253 {
		return ""
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return ""
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return ""
			}
		}
	}
	return name
}

// A reader takes TLS presentation language apart (RFC 8446 §3). After a fault
// ok is false and all it gives is empty.
type reader struct {
	rest []byte
	ok   bool
}

func (r *reader) take(n int) []byte {
	if !r.ok || len(r.rest) < n {
		r.ok = false
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// number reads an unsigned integer of size bytes.
func (r *reader) number(size int) int {
	n := 0
	for _, b := range r.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector reads a length of size bytes, then as many bytes.
func (r *reader) vector(size int) []byte {
	return r.take(r.number(size))
}
