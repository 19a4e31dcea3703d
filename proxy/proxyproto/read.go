package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// DefaultTimeout is how long Read waits for a whole header. §2: at least 3
// seconds, so that one lost segment does no harm.
const DefaultTimeout = 5 * time.Second

const (
	maxV1 = 107  // §2.1: the longest line, CRLF included
	maxV2 = 4096 // what may follow the 16 bytes: a client certificate in a TLV fits
)

var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// A Header is what a proxy in front of us says about a connection. The zero
// Header says nothing.
type Header struct {
	Version int  // 1 or 2
	Local   bool // UNKNOWN, LOCAL, UNSPEC or UNIX: the peer itself is the client

	// Source is the client and Dest where it connected to, canonical: never
	// mapped. Both are invalid when Local.
	Source, Dest netip.AddrPort

	TLVs []TLV // version 2, in order, without padding
}

// A TLV is a type and a value, uninterpreted (§2.2).
type TLV struct {
	Type  byte
	Value []byte
}

// ErrNoHeader means that the first bytes are not a PROXY header.
var ErrNoHeader = errors.New("the peer sent no PROXY header, which accept_proxy requires from it")

// Read takes one header off conn, and not a byte more, within the timeout; 0
// means DefaultTimeout. It uses conn's read deadline and leaves none behind.
// After an error conn is of no use but to be closed.
func Read(conn net.Conn, timeout time.Duration) (Header, error) {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Header{}, fmt.Errorf("proxyproto: %w", err)
	}
	buf, err := readHeader(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("no whole PROXY header in %v", timeout)
	}
	if err != nil {
		return Header{}, fmt.Errorf("proxyproto: %w", err)
	}
	h, _, err := Parse(buf)
	if err != nil {
		return Header{}, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return Header{}, fmt.Errorf("proxyproto: %w", err)
	}
	return h, nil
}

// readHeader returns the bytes of one header. It never asks for more than is
// certain to belong to it.
func readHeader(r io.Reader) ([]byte, error) {
	buf, err := readStart(r)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(buf, signature) {
		return readV2(r, buf)
	}
	return readV1(r, buf)
}

// readStart reads the 12 bytes that tell the versions apart, and stops at the
// first that fits neither.
func readStart(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, maxV1)
	for len(buf) < len(signature) {
		n, err := r.Read(buf[len(buf):len(signature)])
		buf = buf[:len(buf)+n]
		if !Looks(buf) {
			return nil, ErrNoHeader
		}
		if err != nil && len(buf) < len(signature) {
			return nil, unexpected(err)
		}
	}
	return buf, nil
}

// Looks reports whether b begins like a PROXY header of either version, or is
// the beginning of one. A listener that reads no header uses it to refuse a
// client who brings one for the backend to believe.
func Looks(b []byte) bool {
	v1 := []byte("PROXY ")
	return bytes.HasPrefix(b, v1) || bytes.HasPrefix(v1, b) || bytes.HasPrefix(b, signature) || bytes.HasPrefix(signature, b)
}

// readV1 reads up to the CRLF. Each read asks for no more than the shortest
// line that can follow.
func readV1(r io.Reader, buf []byte) ([]byte, error) {
	next := len("PROXY UNKNOWN\r\n") - len(buf)
	switch {
	case bytes.HasPrefix(buf, []byte("PROXY TCP4 ")):
		next = len("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n") - len(buf)
	case bytes.HasPrefix(buf, []byte("PROXY TCP6 ")):
		next = len("PROXY TCP6 :: :: 0 0\r\n") - len(buf)
	}
	for {
		n := len(buf)
		if n+next > maxV1 {
			next = maxV1 - n
		}
		if _, err := io.ReadFull(r, buf[n:n+next]); err != nil {
			return nil, unexpected(err)
		}
		buf = buf[:n+next]
		switch i := bytes.IndexByte(buf, '\n'); {
		case i >= 0:
			return buf, nil // Parse wants it at the end, after a CR
		case len(buf) == maxV1:
			return nil, fmt.Errorf("v1: no CRLF in the first %d bytes", maxV1)
		}
		next = 2
		if buf[len(buf)-1] == '\r' {
			next = 1
		}
	}
}

func readV2(r io.Reader, buf []byte) ([]byte, error) {
	buf = buf[:16]
	if _, err := io.ReadFull(r, buf[12:]); err != nil {
		return nil, unexpected(err)
	}
	n := int(binary.BigEndian.Uint16(buf[14:]))
	if n > maxV2 {
		return nil, fmt.Errorf("v2: %d bytes announced; at most %d are taken", n, maxV2)
	}
	whole := make([]byte, 16+n)
	copy(whole, buf)
	if _, err := io.ReadFull(r, whole[16:]); err != nil {
		return nil, unexpected(err)
	}
	return whole, nil
}

// unexpected: every end of the stream inside a header is an early one.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
