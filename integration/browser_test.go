package integration

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"
)

// browserPage does what pages do and reports it by the path of one last
// request, which stands in the server's log.
const browserPage = `<!DOCTYPE html><title>app</title><script>
(async () => {
  const said = {};
  try {
    said.protocol = performance.getEntriesByType('navigation')[0].nextHopProtocol;
    const me = await (await fetch('/index.php', {method: 'POST', body: 'x'.repeat(100000)})).json();
    said.addr = me.addr; said.length = me.length; said.https = me.https; said.xff = me.xff;
    said.echo = await new Promise((done, fail) => {
      const ws = new WebSocket('wss://' + location.host + '/ws');
      ws.onopen = () => ws.send('Take off your shoes');
      ws.onmessage = (e) => { done(e.data); ws.close(); };
      ws.onerror = () => fail('websocket');
    });
    said.denied = (await fetch('/admin/x')).status;
  } catch (e) { said.error = String(e); }
  fetch('/report?' + encodeURIComponent(JSON.stringify(said)));
})();
</script>`

// startWebsocketEcho serves a websocket that says what it hears, in the backend.
func startWebsocketEcho(t *testing.T, w *world, port int) {
	t.Helper()
	var ln net.Listener
	if err := w.Backend.Do(func() (err error) {
		ln, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", lab.BackendV4, port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	echo := websocket.Server{Handler: func(conn *websocket.Conn) { _, _ = io.Copy(conn, conn) }}
	server := &http.Server{Handler: echo}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
}

// Chromium, which is unchanged and has IPv6 only, opens a site by HTTP/2 and by
// HTTP/3: page, upload, websocket, and a route that is closed to it.
func TestBrowser(t *testing.T) {
	chromium := require.Program(t, "chromium", "chromium")
	w := mustWorld(t)
	php := servers.StartPHP(t, w.Lab, map[string]string{"app.html": browserPage})
	startWebsocketEcho(t, w, 8004)
	cert, key := mustCert(t)
	w.front(t, tunnelConfig+fmt.Sprintf(`
[site."mail.example.test"]
listen = "tunnel:443"
to     = "%[1]s:8002"
cert   = %[2]q
key    = %[3]q

[[site."mail.example.test".route]]
path = "/ws"
to   = "%[1]s:8004"

[[site."mail.example.test".route]]
path   = "/admin"
access = ["deny all"]
`, lab.BackendV4, cert, key))
	for _, row := range []struct {
		protocol string
		flags    []string
	}{
		{"h2", []string{"--disable-quic"}},
		{"h3", []string{"--enable-quic", "--origin-to-force-quic-on=mail.example.test:443"}},
	} {
		t.Run(row.protocol, func(t *testing.T) {
			p := start(t, w.Client6, "/usr/bin/env", append([]string{"HOME=" + t.TempDir(), chromium,
				"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
				"--user-data-dir=" + t.TempDir(), "--no-proxy-server",
				"--host-resolver-rules=MAP mail.example.test [" + lab.Front6.String() + "]",
				"--ignore-certificate-errors-spki-list=" + spkiHash(t, cert),
				"--remote-debugging-port=0", "https://mail.example.test/app.html?" + row.protocol}, row.flags...)...)
			var said map[string]any
			waitUntil(t, 2*time.Minute, "report of the browser", func() error {
				for line := range strings.Lines(php.Log()) {
					_, rest, ok := strings.Cut(line, "GET /report?")
					query, _, _ := strings.Cut(rest, " ")
					text, err := url.QueryUnescape(query)
					if ok && err == nil && json.Unmarshal([]byte(text), &said) == nil && said["protocol"] == row.protocol {
						return nil
					}
				}
				return fmt.Errorf("none in\n%s\nthe browser wrote\n%s", php.Log(), p.Output())
			})
			want := map[string]any{"protocol": row.protocol, "addr": lab.Client6.String(), "xff": "", "length": 100000.0, "https": true, "echo": "Take off your shoes", "denied": 403.0}
			for k, v := range want {
				if said[k] != v {
					t.Errorf("%s: the page says %s = %v, want %v", row.protocol, k, said[k], v)
				}
			}
		})
	}
}

// spkiHash names a certificate's key as Chromium does.
func spkiHash(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
