package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"

	library "github.com/pires/go-proxyproto"

	"genkan/acl"
)

// Parse reads the header that b begins with, and returns its length. A header
// that does not end in b is an error: it is for datagrams, and for what Read
// has collected.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case bytes.HasPrefix(b, signature):
		h, n, err = parseV2(b)
		if err != nil {
			err = fmt.Errorf("proxyproto: v2: %w", err)
		}
	case bytes.HasPrefix(b, []byte("PROXY ")):
		h, n, err = parseV1(b)
		if err != nil {
			err = fmt.Errorf("proxyproto: v1: %w", err)
		}
	default:
		err = fmt.Errorf("proxyproto: %w", ErrNoHeader)
	}
	if err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// parseV1 reads §2.1's line by its letter: single spaces, five fields, CRLF.
func parseV1(b []byte) (Header, int, error) {
	line, _, ok := bytes.Cut(b[:min(len(b), maxV1)], []byte("\r\n"))
	if !ok || bytes.IndexByte(line, '\n') >= 0 {
		return Header{}, 0, fmt.Errorf("no CRLF in the first %d bytes", maxV1)
	}
	n := len(line) + 2
	fields := strings.Split(string(line), " ")
	family := fields[1]
	switch {
	case family == "UNKNOWN":
		return Header{Version: 1, Local: true}, n, nil
	case family != "TCP4" && family != "TCP6":
		return Header{}, 0, fmt.Errorf("unknown family %.20q", family)
	case len(fields) != 6:
		return Header{}, 0, fmt.Errorf("%d fields, want 6", len(fields))
	}
	h := Header{Version: 1}
	var err error
	if h.Source, err = endpoint(family, fields[2], fields[4]); err != nil {
		return Header{}, 0, err
	}
	if h.Dest, err = endpoint(family, fields[3], fields[5]); err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// endpoint reads an address of the family and a port. A mapped address in a
// TCP6 line, as HAProxy writes it (haproxy#2963), is IPv4 from here on.
func endpoint(family, address, port string) (netip.AddrPort, error) {
	a, err := acl.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if strings.ContainsAny(address, "[%") || strings.Contains(address, ":") != (family == "TCP6") {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of %s", address, family)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return netip.AddrPort{}, fmt.Errorf("%.20q is no port", port)
	}
	return netip.AddrPortFrom(a.Netip(), uint16(p)), nil
}

// parseV2 leaves the fixed part to the library, which refuses what §2.2 does
// not define, and checks what the library passes through.
func parseV2(b []byte) (Header, int, error) {
	if len(b) < 16 {
		return Header{}, 0, errors.New("truncated")
	}
	n := 16 + int(binary.BigEndian.Uint16(b[14:]))
	if n > 16+maxV2 || n > len(b) {
		return Header{}, 0, fmt.Errorf("%d bytes announced, %d there; at most %d are taken", n-16, len(b)-16, maxV2)
	}
	b = b[:n]
	h := Header{Version: 2}
	if b[12] == byte(library.PROXY) && b[13] == byte(library.UNSPEC) {
		// §2.2 leaves it to the receiver. As with version 1's UNKNOWN, the
		// proxy does not know its client, and is what rules judge.
		h.Local = true
		return h, n, nil
	}
	parsed, err := library.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return Header{}, 0, err
	}
	if parsed.Command.IsLocal() {
		h.Local = true // §2.2: the rest is discarded unread
		return h, n, nil
	}
	h.Source, h.Dest = canonical(parsed.SourceAddr), canonical(parsed.DestinationAddr)
	h.Local = !h.Source.IsValid()
	all, err := parsed.TLVs()
	if err != nil {
		return Header{}, 0, err
	}
	for _, t := range all {
		if err := checkTLV(t, b); err != nil {
			return Header{}, 0, err
		}
		if t.Type != library.PP2_TYPE_NOOP {
			h.TLVs = append(h.TLVs, TLV{byte(t.Type), t.Value})
		}
	}
	return h, n, nil
}

// canonical takes stream and datagram addresses: the family says how the
// client reached the proxy. A UNIX path is none; §2.2 has a receiver that does
// not know a family take it for UNSPEC.
func canonical(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := addr.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	default:
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(acl.AddrFrom(ap.Addr()).Netip(), ap.Port())
}

// checkTLV checks the types whose form §2.2 fixes.
func checkTLV(t library.TLV, header []byte) error {
	switch t.Type {
	case library.PP2_TYPE_CRC32C:
		return checkSum(t.Value, header)
	case library.PP2_TYPE_UNIQUE_ID:
		if len(t.Value) > 128 {
			return fmt.Errorf("a unique id of %d bytes; at most 128", len(t.Value))
		}
	case library.PP2_TYPE_SSL:
		if len(t.Value) < 5 {
			return errors.New("a TLS record of less than 5 bytes")
		}
		if _, err := library.SplitTLVs(t.Value[5:]); err != nil {
			return fmt.Errorf("TLS record: %w", err)
		}
	}
	return nil
}

// checkSum verifies §2.2.3: the CRC32C of the header with the checksum zeroed.
// The TLVs are known to be well formed, and one of them is the checksum.
func checkSum(sum, header []byte) error {
	if len(sum) != 4 {
		return errors.New("a checksum that is not 4 bytes")
	}
	at := 16 + [...]int{1: 12, 2: 36, 3: 216}[header[13]>>4] // AF_INET, AF_INET6, AF_UNIX
	for header[at] != byte(library.PP2_TYPE_CRC32C) {
		at += 3 + int(binary.BigEndian.Uint16(header[at+1:]))
	}
	zeroed := bytes.Clone(header)
	clear(zeroed[at+3 : at+7])
	if crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(sum) {
		return errors.New("the checksum is wrong")
	}
	return nil
}
