package proxy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy/message"
)

func writeRSA(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	mustWrite(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	mustWrite(t, key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}))
	return cert, key
}

// Clients that stop amid their handshake hold up nobody, whether it runs on an
// event loop or in a goroutine, and are closed in time.
func TestHandshakeStops(t *testing.T) {
	for _, row := range []struct {
		name string
		slow bool // not for a loop
		cert func() (cert, key string)
	}{
		{"ecdsa", false, func() (string, string) { return writeCert(t, time.Hour, "a.test") }},
		{"rsa", true, func() (string, string) { return writeRSA(t, "a.test") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			listen := mustListen(t, "[::1]:0")
			cert, key := row.cert()
			s := start(t, Config{
				Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, startWeb(t, "a")), Access: acl.AllowAll(), Cert: cert, Key: key}},
				Listeners: []Listener{{Listen: listen[0], TLS: true}},
				Timeouts:  Timeouts{Handshake: 2 * time.Second},
			})
			for e, svc := range s.Server.state.Load().services {
				if e.network == "tcp" && svc.slow != row.slow {
					t.Errorf("slow = %v, want %v", svc.slow, row.slow)
				}
			}
			const stopped = 12
			var conns []*net.TCPConn
			for range stopped {
				conn := mustDial(t, s.at(t, "::1"))
				conn.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello
				conns = append(conns, conn)
			}
			for range 4 {
				if status, how, body := askTLS(t, s.at(t, "::1"), "a.test", []string{"http/1.1"}); status != 200 {
					t.Errorf("beside clients that stopped: %d %s %q", status, how, body)
				}
			}
			for _, conn := range conns {
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, net.ErrClosed) || isLate(err) {
					t.Errorf("a client that stopped is not closed: %v", err)
				}
			}
			poll(t, "the bound on handshakes is not counted for each client", func() bool {
				return s.Server.bites[message.LimitHeadTime].Load() == stopped
			})
		})
	}
}

func isLate(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
