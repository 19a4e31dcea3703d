package sni

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// clientHello is the first flight of crypto/tls.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, config).HandshakeContext(context.Background())
		client.Close()
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(header, body...)
}

// fragment cuts a ClientHello of one record into records of n bytes.
func fragment(hello []byte, n int) []byte {
	var out []byte
	for rest := hello[5:]; len(rest) > 0; {
		size := min(n, len(rest))
		out = append(out, hello[0], hello[1], hello[2], byte(size>>8), byte(size))
		out = append(out, rest[:size]...)
		rest = rest[size:]
	}
	return out
}

func TestParse(t *testing.T) {
	for _, row := range []struct {
		config *tls.Config
		name   string
		alpn   []string
	}{
		{&tls.Config{ServerName: "www.example.jp", NextProtos: []string{"h2", "http/1.1"}}, "www.example.jp", []string{"h2", "http/1.1"}},
		{&tls.Config{ServerName: "WWW.Example.JP."}, "www.example.jp", nil},
		{&tls.Config{ServerName: "192.0.2.1"}, "", nil}, // crypto/tls names no address
		{&tls.Config{InsecureSkipVerify: true}, "", nil},
		{&tls.Config{ServerName: "old.example.jp", MaxVersion: tls.VersionTLS12}, "old.example.jp", nil},
		{&tls.Config{ServerName: "long.example.jp", NextProtos: slices.Repeat([]string{strings.Repeat("p", 200)}, 40)}, "long.example.jp", slices.Repeat([]string{strings.Repeat("p", 200)}, 40)},
	} {
		hello := clientHello(t, row.config)
		for _, size := range []int{1 << 14, 1000, 100, 7, 1} {
			data := fragment(hello, size)
			got, err := Parse(data)
			if err != nil || got.Name != row.name || !slices.Equal(got.ALPN, row.alpn) || got.ECH {
				t.Errorf("%q in records of %d: %+v, %v", row.name, size, got, err)
			}
			// Whatever has arrived so far is the beginning of it.
			for n := 0; n < len(data); n += max(1, len(data)/50) {
				if got, err := Parse(data[:n]); !errors.Is(err, ErrShort) {
					t.Errorf("%q in records of %d, %d of %d bytes: %+v, %v, want ErrShort", row.name, size, n, len(data), got, err)
				}
			}
		}
	}
}

// With ECH the name to route by is the public one; the true name is not there.
func TestParseECH(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "secret.example.jp", EncryptedClientHelloConfigList: echConfigs(t, "public.example.jp")})
	if bytes.Contains(hello, []byte("secret")) {
		t.Fatal("the true name is in the clear; the test proves nothing")
	}
	for _, size := range []int{1 << 14, 100, 1} {
		if got, err := Parse(fragment(hello, size)); err != nil || got.Name != "public.example.jp" || !got.ECH {
			t.Errorf("in records of %d: %+v, %v", size, got, err)
		}
	}
}

// echConfigs is an ECHConfigList (RFC 9849 §4) of one configuration with a key
// that nobody has.
func echConfigs(t testing.TB, publicName string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	counted := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	contents := slices.Concat(
		[]byte{7, 0, 0x20}, // config_id, DHKEM(X25519, HKDF-SHA256)
		counted(key.PublicKey().Bytes()),
		counted([]byte{0, 1, 0, 1}), // HKDF-SHA256, AES-128-GCM
		[]byte{32, byte(len(publicName))}, []byte(publicName),
		counted(nil), // extensions
	)
	return counted(slices.Concat([]byte{0xfe, 0x0d}, counted(contents)))
}

func TestParseRefuses(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "a.test"})
	change := func(at int, b byte) []byte {
		data := bytes.Clone(hello)
		data[at] = b
		return data
	}
	for _, row := range []struct {
		name string
		data []byte
	}{
		{"http", []byte("GET / HTTP/1.1\r\n")},
		{"ssh", []byte("SSH-2.0-x")},
		{"alert", change(0, 21)},
		{"version", change(1, 2)},
		{"server-hello", change(5, 2)},
		{"huge-message", change(6, 0xff)},
		{"empty-record", []byte{22, 3, 1, 0, 0}},
		{"huge-record", []byte{22, 3, 1, 0xff, 0xff}},
		{"one-byte", []byte("S")},
	} {
		if got, err := Parse(row.data); !errors.Is(err, ErrNotTLS) {
			t.Errorf("%s: %+v, %v, want ErrNotTLS", row.name, got, err)
		}
	}
}

// FuzzParse holds Parse against crypto/tls: what that takes for a ClientHello
// has the same name here.
func FuzzParse(f *testing.F) {
	f.Add(clientHello(f, &tls.Config{ServerName: "www.example.jp", NextProtos: []string{"h2"}}))
	f.Add(fragment(clientHello(f, &tls.Config{ServerName: "a.test"}), 50))
	f.Fuzz(func(t *testing.T, data []byte) {
		hello, err := Parse(data)
		name, alpn, ok := byCryptoTLS(data)
		if !ok {
			return
		}
		want := hostName(name)
		if err != nil || hello.Name != want || !slices.Equal(hello.ALPN, alpn) {
			t.Errorf("%+v, %v; crypto/tls reads %q, %q", hello, err, name, alpn)
		}
	})
}

// byCryptoTLS is the slow, obvious oracle.
func byCryptoTLS(data []byte) (name string, alpn []string, ok bool) {
	stop := errors.New("seen")
	server := tls.Server(readOnly{bytes.NewReader(data)}, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			name, alpn, ok = info.ServerName, info.SupportedProtos, true
			return nil, stop
		},
	})
	server.HandshakeContext(context.Background())
	return name, alpn, ok
}

// readOnly is a connection that swallows what is written.
type readOnly struct{ r io.Reader }

func (c readOnly) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c readOnly) Write(p []byte) (int, error)      { return len(p), nil }
func (c readOnly) Close() error                     { return nil }
func (c readOnly) LocalAddr() net.Addr              { return nil }
func (c readOnly) RemoteAddr() net.Addr             { return nil }
func (c readOnly) SetDeadline(time.Time) error      { return nil }
func (c readOnly) SetReadDeadline(time.Time) error  { return nil }
func (c readOnly) SetWriteDeadline(time.Time) error { return nil }
