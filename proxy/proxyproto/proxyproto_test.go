package proxyproto

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestVectors(t *testing.T) {
	index, err := os.ReadFile("testdata/INDEX.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(index)), "\n")[1:] {
		f := strings.Split(line, "\t")
		name, want, note := f[0], f[1], f[3]
		length, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		stream, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, rest := deliver(t, stream)
			if got != want {
				t.Errorf("%s, want %s (%s)", got, want, note)
			}
			if got != "close" && rest != string(stream[length:]) {
				t.Errorf("the service reads %q, want %q", rest, stream[length:])
			}
		})
	}
}

// deliver sends a stream over a socket and returns the verdict in the words of
// INDEX.tsv, and what follows the header.
func deliver(t *testing.T, stream []byte) (verdict, rest string) {
	client, server := socketPair(t)
	go func() {
		client.Write(stream) // fails where the other side has seen enough
		if len(stream) > 20 {
			client.CloseWrite()
		}
	}()
	h, err := Read(server, 500*time.Millisecond)
	if err != nil {
		return "close", ""
	}
	after, err := io.ReadAll(server)
	if err != nil {
		t.Error(err)
	}
	if h.Local {
		return "accept-peer", string(after)
	}
	return "accept " + h.Source.String(), string(after)
}

// socketPair returns the two ends of a TCP connection, closed with the test.
func socketPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct{ header, want string }{
		{"SSH-2.0-OpenSSH_9.2\r\n", "proxyproto: the peer sent no PROXY header, which accept_proxy requires from it"},
		{"PROXY TCP4 0300.0.2.1 192.0.2.1 1 2\r\n", `proxyproto: v1: "0300.0.2.1": leading zeros; write "192.0.2.1"`},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 +2\r\n", `proxyproto: v1: "+2" is no port`},
		{"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", `proxyproto: v1: "2001:db8::1" is no address of TCP4`},
		{"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", `proxyproto: v1: "192.0.2.1" is no address of TCP6`},
		{"PROXY TCP6 [2001:db8::1] 2001:db8::2 1 2\r\n", `proxyproto: v1: "[2001:db8::1]" is no address of TCP6`},
		{"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", `proxyproto: v1: "fe80::1%eth0" is no address of TCP6`},
		{"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", `proxyproto: v1: unknown family ""`},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", `proxyproto: v1: 7 fields, want 6`},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n", `proxyproto: v1: no CRLF in the first 107 bytes`},
		{v2(0x21, 0x31, make([]byte, 215)), "proxyproto: v2: proxyproto: invalid length"},
		{v2(0x21, 0x10, addrs4), "proxyproto: v2: proxyproto: unsupported address family and protocol"},
		{v2(0x20, 0x41, nil), "proxyproto: v2: proxyproto: unsupported address family and protocol"},
		{v2(0x21, 0x11, tlv(addrs4, 1, []byte("h2"))[:16]), "proxyproto: v2: proxyproto: truncated TLV"},
		{v2(0x21, 0x11, tlv(addrs4, 3, []byte{1, 2, 3, 4})), "proxyproto: v2: the checksum is wrong"},
		{v2(0x21, 0x11, tlv(addrs4, 3, []byte{1, 2, 3})), "proxyproto: v2: a checksum that is not 4 bytes"},
		{v2(0x21, 0x11, tlv(addrs4, 5, make([]byte, 129))), "proxyproto: v2: a unique id of 129 bytes; at most 128"},
		{v2(0x21, 0x11, tlv(addrs4, 0x20, []byte{1, 0, 0, 0})), "proxyproto: v2: a TLS record of less than 5 bytes"},
		{v2(0x21, 0x11, tlv(addrs4, 0x20, []byte{1, 0, 0, 0, 0, 0x21})), "proxyproto: v2: TLS record: proxyproto: truncated TLV"},
		{v2(0x21, 0x11, tlv(addrs4, 0xe0, make([]byte, 4096))), "proxyproto: v2: 4111 bytes announced, 4111 there; at most 4096 are taken"},
	} {
		h, _, err := Parse([]byte(row.header))
		if err == nil || err.Error() != row.want {
			t.Errorf("%q:\n got %v (%+v)\nwant %s", row.header[:min(60, len(row.header))], err, h, row.want)
		}
	}
}

// addrs4 is the address block of 203.0.113.7:1111 to 192.0.2.1:443.
var addrs4 = []byte{203, 0, 113, 7, 192, 0, 2, 1, 0x04, 0x57, 0x01, 0xbb}

func v2(command, family byte, block []byte) string {
	b := append(bytes.Clone(signature), command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(block))), block...))
}

// tlv appends a TLV to a block.
func tlv(block []byte, kind byte, value []byte) []byte {
	b := append(bytes.Clone(block), kind)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(value))), value...)
}

// The peer is the client where a header names none: what it holds besides is
// passed over.
func TestNoClient(t *testing.T) {
	for _, header := range []string{
		"PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN 2001:db8::1 junk\r\n",
		v2(0x20, 0x00, nil),
		v2(0x20, 0x00, []byte("junk")),
		v2(0x20, 0x11, nil), // too short for the family, which LOCAL ignores
		v2(0x20, 0x11, addrs4),
		v2(0x20, 0x21, append(make([]byte, 36), 1, 2)),
		v2(0x20, 0x32, nil),
		v2(0x21, 0x00, nil),
		v2(0x21, 0x00, addrs4),
		v2(0x21, 0x31, make([]byte, 216)),
		v2(0x21, 0x32, tlv(make([]byte, 216), 2, []byte("a.test"))),
		sum(v2(0x21, 0x31, tlv(make([]byte, 216), 3, make([]byte, 4)))),
	} {
		h, n, err := Parse([]byte(header + "PING"))
		if err != nil || !h.Local || n != len(header) || h.Source.IsValid() || h.Dest.IsValid() {
			t.Errorf("%q: %+v, %d, %v", header[:min(60, len(header))], h, n, err)
		}
	}
}

// sum fills in a checksum that stands at the end.
func sum(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

func TestChecksum(t *testing.T) {
	header := []byte(sum(v2(0x21, 0x11, tlv(tlv(addrs4, 4, []byte{0, 0}), 3, make([]byte, 4)))))
	h, n, err := Parse(header)
	if err != nil || n != len(header) || h.Source != netip.MustParseAddrPort("203.0.113.7:1111") || len(h.TLVs) != 1 {
		t.Errorf("%+v, %d, %v", h, n, err)
	}
}

// A header that arrives byte by byte is whole in the end, and one that stops
// is given up in time.
func TestSlowHeader(t *testing.T) {
	client, server := socketPair(t)
	header := "PROXY TCP6 2001:db8::7 2001:db8::1 1111 443\r\n"
	go func() {
		for i := range len(header) {
			client.Write([]byte(header[i : i+1]))
		}
		client.Write([]byte("PING"))
	}()
	h, err := Read(server, 10*time.Second)
	if err != nil || h.Source != netip.MustParseAddrPort("[2001:db8::7]:1111") || h.Dest != netip.MustParseAddrPort("[2001:db8::1]:443") {
		t.Fatalf("%+v, %v", h, err)
	}
	rest := make([]byte, 4)
	if _, err := io.ReadFull(server, rest); err != nil || string(rest) != "PING" {
		t.Fatalf("then %q, %v", rest, err)
	}
	client.Write([]byte("PROXY TCP4 "))
	if _, err := Read(server, 50*time.Millisecond); err == nil || err.Error() != "proxyproto: no whole PROXY header in 50ms" {
		t.Errorf("half a header: %v", err)
	}
	if DefaultTimeout < 3*time.Second || DefaultTimeout > 10*time.Second {
		t.Errorf("DefaultTimeout is %v, want 3s to 10s", DefaultTimeout)
	}
}

func TestAppend(t *testing.T) {
	for _, row := range []struct {
		version      int
		source, dest string
		want         string // the dest that is read back; "" for the one given
	}{
		{1, "203.0.113.7:1111", "192.0.2.1:443", ""},
		{2, "203.0.113.7:1111", "192.0.2.1:443", ""},
		{1, "[2001:db8::7]:1111", "[2001:db8::1]:443", ""},
		{2, "[2001:db8::7]:1111", "[2001:db8::1]:443", ""},
		{1, "[2001:db8::7]:1111", "192.0.2.1:443", "[::]:443"},
		{2, "[2001:db8::7]:1111", "192.0.2.1:443", "[::]:443"},
		{1, "203.0.113.7:1111", "[2001:db8::1]:443", "0.0.0.0:443"},
		{2, "[::ffff:203.0.113.7]:1111", "192.0.2.1:443", ""},
		{1, "[::ffff:203.0.113.7]:1111", "[::ffff:192.0.2.1]:443", "192.0.2.1:443"},
	} {
		source, dest := netip.MustParseAddrPort(row.source), netip.MustParseAddrPort(row.dest)
		b, err := Append([]byte("x"), row.version, source, dest)
		if err != nil {
			t.Fatal(err)
		}
		h, n, err := Parse(append(b[1:], "PING"...))
		if row.want != "" {
			dest = netip.MustParseAddrPort(row.want)
		}
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		if err != nil || n != len(b)-1 || h.Version != row.version || h.Source != source || h.Dest != dest {
			t.Errorf("v%d %s %s: %+v, %v", row.version, row.source, row.dest, h, err)
		}
		if bytes.Contains(b, []byte("ffff")) || bytes.Contains(b, []byte("\xff\xff")) {
			t.Errorf("v%d %s %s: %q has a mapped address", row.version, row.source, row.dest, b)
		}
	}
	if _, err := Append(nil, 2, netip.AddrPort{}, netip.AddrPort{}); err == nil {
		t.Error("a header without a source")
	}
}

// The parser says what the text of the protocol does, the reader agrees,
// whatever comes, and takes no byte that is not the header's.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"PROXY UNKNOWN\r\nPING", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nPING", "PROXY TCP6 :: ::1 1 2\r\n",
		v2(0x21, 0x11, addrs4), v2(0x20, 0, nil), v2(0x21, 0x21, tlv(make([]byte, 36), 2, []byte("a.test")))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkAgainstSlow(t, b)
		r := bytes.NewReader(b)
		read, err := readHeader(r)
		h, n, perr := Parse(b)
		if perr == nil && (err != nil || n != len(read) || r.Len() != len(b)-n) {
			t.Fatalf("%q: Parse takes %d bytes, the reader %d and leaves %d (%v)", b, n, len(read), r.Len(), err)
		}
		if err == nil && perr != nil {
			if _, _, again := Parse(read); again == nil {
				t.Fatalf("%q: %v, but %q alone is fine", b, perr, read)
			}
		}
		if perr != nil || h.Local {
			return
		}
		if h.Source.Addr().Is4In6() || h.Source.Addr().Zone() != "" {
			t.Fatalf("%q: source %v is not canonical", b, h.Source)
		}
		out, err := Append(nil, h.Version, h.Source, h.Dest, h.TLVs...)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := Parse(out); err == nil && again.Source != h.Source {
			t.Fatalf("%q: source %v comes back as %v", b, h.Source, again.Source)
		}
	})
}
