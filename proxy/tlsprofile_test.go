package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"genkan/acl"
)

// Clients get in as Mozilla's intermediate profile says: TLS 1.2 with ephemeral
// keys and authenticated encryption, and TLS 1.3.
func TestTLSProfile(t *testing.T) {
	_, _, addr := startFronts(t, startWeb(t, "b"), nil)
	allowed := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: true,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true,
	}
	dial := func(c *tls.Config) error {
		c.ServerName, c.InsecureSkipVerify = "a.test", true
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, c)
		if err == nil {
			conn.Close()
		}
		return err
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue // all three are fine, and are not chosen one by one
		}
		err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		if (err == nil) != allowed[suite.ID] {
			t.Errorf("%s: %v, want it allowed: %t", suite.Name, err, allowed[suite.ID])
		}
	}
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		err := dial(&tls.Config{MinVersion: version, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: %v, want it allowed: %t", tls.VersionName(version), err, want)
		}
	}
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
		if err := dial(&tls.Config{CurvePreferences: []tls.CurveID{curve}}); err != nil {
			t.Errorf("%v: %v", curve, err)
		}
	}
}

// A ClientHello in pieces, of TCP or of TLS records, finds its site all the
// same, also where a forward looks for its name in it (CVE-2026-32305).
func TestFragmentedClientHello(t *testing.T) {
	for _, shared := range []bool{false, true} {
		_, _, addr := startFronts(t, startWeb(t, "b"), func(c *Config) {
			if shared {
				c.Forwards = []Forward{{
					Name: "mail", Listen: c.Sites[0].Listen, SNI: []string{"mail.test"},
					To: mustBackend(t, unusedAddr(t)), Access: acl.AllowAll(),
				}}
			}
		})
		for name, cut := range map[string]func([]byte) [][]byte{
			"bytes":   func(hello []byte) [][]byte { return pieces(hello, 7) },
			"records": func(hello []byte) [][]byte { return [][]byte{records(hello, 50)} },
			"both":    func(hello []byte) [][]byte { return pieces(records(hello, 11), 3) },
		} {
			conn := mustDial(t, addr)
			conn.SetNoDelay(true)
			session := tls.Client(&fragmenter{Conn: conn, cut: cut}, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
			fmt.Fprint(session, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
			answer, err := io.ReadAll(session)
			if err != nil || !strings.Contains(string(answer), "backend b") {
				t.Errorf("%s, shared %t: %.100q %v", name, shared, answer, err)
			}
		}
	}
}

// A fragmenter cuts the first write, which is the ClientHello.
type fragmenter struct {
	net.Conn
	cut func([]byte) [][]byte
}

func (f *fragmenter) Write(p []byte) (int, error) {
	if f.cut == nil {
		return f.Conn.Write(p)
	}
	parts := f.cut(bytes.Clone(p))
	f.cut = nil
	for _, part := range parts {
		if _, err := f.Conn.Write(part); err != nil {
			return 0, err
		}
		time.Sleep(200 * time.Microsecond) // a segment of its own
	}
	return len(p), nil
}

func pieces(p []byte, n int) (all [][]byte) {
	for len(p) > n {
		all, p = append(all, p[:n]), p[n:]
	}
	return append(all, p)
}

// records puts the content of one TLS record into several of n bytes.
func records(record []byte, n int) (out []byte) {
	for _, part := range pieces(record[5:], n) {
		out = append(out, record[:3]...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(part)))
		out = append(out, part...)
	}
	return out
}
