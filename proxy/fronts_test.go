package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"
	h2 "golang.org/x/net/http2"

	"genkan/acl"
	"genkan/proxy/message"
)

// A frontClient speaks one version of HTTP to a site.
type frontClient struct {
	version string
	http.RoundTripper
}

// startFronts serves the site a.test over TLS in front of a backend, and gives
// a client for each version of HTTP, and the address.
func startFronts(t *testing.T, to string, edit func(*Config)) (running, []frontClient, string) {
	t.Helper()
	cert, key := writeCert(t, time.Hour, "a.test")
	listen := mustListen(t, fmt.Sprintf("[::1]:%d", freePort(t)))
	cfg := Config{
		Sites:     []Site{{Name: "a.test", Listen: listen, To: mustBackend(t, to), Access: acl.AllowAll(), Cert: cert, Key: key}},
		Listeners: []Listener{{Listen: listen[0], TLS: true}},
	}
	if edit != nil {
		edit(&cfg)
	}
	s := start(t, cfg)
	addr := netip.AddrPortFrom(listen[0].Addr.Netip(), listen[0].Port).String()
	return s, frontClients(t, addr), addr
}

// frontClients are clients of the site a.test at addr.
func frontClients(t *testing.T, addr string) []frontClient {
	t.Helper()
	tcp := func(set func(*http.Protocols)) *http.Transport {
		tr := &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			},
			TLSClientConfig:       &tls.Config{InsecureSkipVerify: true},
			Protocols:             new(http.Protocols),
			DisableCompression:    true,
			ExpectContinueTimeout: patience,
		}
		set(tr.Protocols)
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	h3 := &quichttp.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"},
		DisableCompression: true,
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, addr, tc, qc)
		},
	}
	t.Cleanup(func() { h3.Close() })
	return []frontClient{
		{"HTTP/1.1", tcp(func(p *http.Protocols) { p.SetHTTP1(true) })},
		{"HTTP/2.0", tcp(func(p *http.Protocols) { p.SetHTTP2(true) })},
		{"HTTP/3.0", h3},
	}
}

// ask makes a request of the site; a hook sees its interim answers.
func (c frontClient) ask(t *testing.T, method, path string, body io.Reader, header http.Header, interim func(code int, h textproto.MIMEHeader)) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if interim != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			interim(code, h)
			return nil
		}})
	}
	return c.do(t, ctx, method, path, body, header)
}

// askWithin makes a request that may take long.
func (c frontClient) askWithin(t *testing.T, wait time.Duration, method, path string, body io.Reader) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return c.do(t, ctx, method, path, body, nil)
}

func (c frontClient) do(t *testing.T, ctx context.Context, method, path string, body io.Reader, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "https://a.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", c.version, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.Proto != c.version {
		t.Errorf("answered by %s, want %s", resp.Proto, c.version)
	}
	return resp
}

// A site without HTTP/3 is told of and served by TCP alone, though its
// neighbour on the port has it.
func TestHTTP3BySite(t *testing.T) {
	_, clients, addr := startFronts(t, startWeb(t, "a"), func(c *Config) {
		two := c.Sites[0]
		two.Name, two.NoHTTP3, two.To = "b.test", true, mustBackend(t, startWeb(t, "b"))
		two.Cert, two.Key = writeCert(t, time.Hour, "b.test")
		c.Sites = append(c.Sites, two)
	})
	for _, row := range []struct {
		host string
		tell bool
	}{{"a.test", true}, {"b.test", false}} {
		for _, c := range clients[:2] {
			resp, body := c.askFor(t, "GET", row.host, "/", nil)
			if told := resp.Header.Get("Alt-Svc"); (told != "") != row.tell || !strings.HasPrefix(body, "backend "+row.host[:1]) {
				t.Errorf("%s by %s: Alt-Svc %q, %q", row.host, c.version, told, body)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := quic.DialAddr(ctx, addr, &tls.Config{ServerName: row.host, NextProtos: []string{"h3"}, InsecureSkipVerify: true}, nil)
		if (err == nil) != row.tell {
			t.Errorf("%s by QUIC: %v", row.host, err)
		}
		if err == nil {
			conn.CloseWithError(0, "")
		}
	}
}

// Edits have the last word about Alt-Svc, as of ports that are others outside.
func TestAltSvcIsEdited(t *testing.T) {
	for _, row := range []struct {
		edits message.Edits
		want  string
	}{
		{message.Edits{Set: []message.Field{{Name: "Alt-Svc", Value: `h3=":443"`}}}, `[h3=":443"]`},
		{message.Edits{Remove: []string{"alt-svc"}}, "[]"},
	} {
		_, clients, _ := startFronts(t, startWeb(t, "a"), func(c *Config) { c.Sites[0].Response = row.edits })
		for _, c := range clients {
			resp := c.ask(t, "GET", "/", nil, nil, nil)
			if got := fmt.Sprint(resp.Header.Values("Alt-Svc")); got != row.want {
				t.Errorf("%+v by %s: %s, want %s", row.edits, c.version, got, row.want)
			}
		}
	}
}

// Each event is there before the next is written.
func TestServerSentEvents(t *testing.T) {
	next := make(chan bool)
	events := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(events))
	t.Cleanup(plain.Close)
	for _, to := range []string{strings.TrimPrefix(plain.URL, "http://"), "h2c://" + startH2C(t, events)} {
		_, clients, _ := startFronts(t, to, nil)
		for _, c := range clients {
			resp := c.ask(t, "GET", "/", nil, nil, nil)
			lines := bufio.NewReader(resp.Body)
			for i := range 5 {
				line, err := lines.ReadString('\n')
				lines.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
					t.Fatalf("%s: %q %v, want %q", c.version, line, err, want)
				}
				next <- true
			}
		}
	}
}

// An answer without content has none, whatever it says of its length.
func TestNotModified(t *testing.T) {
	to := startBackend(t, func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"x\"\r\n\r\n")
		}
	})
	_, clients, _ := startFronts(t, to, nil)
	for _, c := range clients {
		resp := c.ask(t, "GET", "/", nil, nil, nil)
		if body, err := io.ReadAll(resp.Body); resp.StatusCode != 304 || len(body) > 0 || err != nil || resp.Header.Get("ETag") == "" {
			t.Errorf("%s: %d %q %v %v", c.version, resp.StatusCode, body, err, resp.Header)
		}
	}
}

// 103 is there before the answer is known, with its fields.
func TestEarlyHints(t *testing.T) {
	seen := make(chan string, 1)
	hints := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, <-seen)
	}
	plain := httptest.NewServer(http.HandlerFunc(hints))
	t.Cleanup(plain.Close)
	for _, to := range []string{strings.TrimPrefix(plain.URL, "http://"), "h2c://" + startH2C(t, hints)} {
		_, clients, _ := startFronts(t, to, nil)
		for _, c := range clients {
			resp := c.ask(t, "GET", "/", nil, nil, func(code int, h textproto.MIMEHeader) {
				seen <- fmt.Sprint(code, " ", h.Get("Link"))
			})
			body, err := io.ReadAll(resp.Body)
			if want := "103 </style.css>; rel=preload"; string(body) != want || err != nil {
				t.Errorf("%s to %s: %q %v, want %q", c.version, to, body, err, want)
			}
		}
	}
}

// A client that waits for 100 gets it when the backend wants the content, and
// the answer at once where it does not.
func TestExpectContinue(t *testing.T) {
	expect := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, len(body), " ", err)
	}
	plain := httptest.NewServer(http.HandlerFunc(expect))
	t.Cleanup(plain.Close)
	for _, to := range []string{strings.TrimPrefix(plain.URL, "http://"), "h2c://" + startH2C(t, expect)} {
		_, clients, _ := startFronts(t, to, nil)
		for _, c := range clients {
			body := newHeldBody(strings.Repeat("x", 100_000))
			resp := c.ask(t, "POST", "/yes", body, http.Header{"Expect": {"100-continue"}}, func(code int, _ textproto.MIMEHeader) {
				if code == 100 {
					body.release()
				}
			})
			if text, err := io.ReadAll(resp.Body); string(text) != "100000 <nil>" || err != nil {
				t.Errorf("%s to %s: %q %v", c.version, to, text, err)
			}
			held := newHeldBody("x")
			resp = c.ask(t, "POST", "/no", held, http.Header{"Expect": {"100-continue"}}, nil)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s to %s: refused with %d, want 401", c.version, to, resp.StatusCode)
			}
			held.release()
		}
	}
}

// A heldBody gives nothing until it is released.
type heldBody struct {
	io.Reader
	gate chan bool
}

func newHeldBody(text string) *heldBody {
	return &heldBody{strings.NewReader(text), make(chan bool)}
}

func (b *heldBody) release() { close(b.gate) }

func (b *heldBody) Read(p []byte) (int, error) {
	<-b.gate
	return b.Reader.Read(p)
}

// startWebsocket is a server that shakes hands as path says and echoes.
func startWebsocket(t *testing.T) string {
	return startBackend(t, func(conn *net.TCPConn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		ok := message.WebSocketKey(r.Header.Get("Sec-WebSocket-Key")).Accept()
		switch r.URL.Path {
		case "/no":
			io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			return
		case "/200":
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
			return
		case "/wrong":
			ok = "wrong"
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\nhello ", ok, r.Header.Get("Sec-WebSocket-Protocol"))
		io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{br})
		conn.CloseWrite()
	})
}

// A websocket opens over every version of HTTP, where the backend agrees.
func TestWebsocket(t *testing.T) {
	_, clients, addr := startFronts(t, startWebsocket(t), nil)
	for _, row := range []struct{ path, want string }{
		{"/chat", "open chat.v1 hello one two"},
		{"/no", "403"},
		{"/200", "502"},
		{"/wrong", "502"},
	} {
		for _, c := range clients {
			got, want := "", row.want
			if c.version == "HTTP/1.1" {
				got = websocketH1(t, addr, row.path)
				switch row.path { // the client sees the handshake itself
				case "/200":
					want = "200"
				case "/wrong":
					want = "open chat.v1 hello one two"
				}
			} else {
				got = c.websocket(t, addr, row.path)
			}
			if got != want {
				t.Errorf("%s %s: %q, want %q", c.version, row.path, got, want)
			}
		}
	}
}

// websocket opens one by extended CONNECT, says something in two parts, ends
// its side, and gives what came until the end.
func (c frontClient) websocket(t *testing.T, addr, path string) string {
	t.Helper()
	var tr http.RoundTripper = c
	if c.version == "HTTP/2.0" { // net/http's client has no extended CONNECT
		h2c := &h2.Transport{DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
			return tls.Dial("tcp", addr, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		}}
		defer h2c.CloseIdleConnections()
		tr = h2c
	}
	pr, pw := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodConnect, "https://a.test"+path, pr)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-WebSocket-Protocol", "chat.v1")
	if c.version == "HTTP/3.0" {
		r.Proto = "websocket"
	} else {
		r.Header.Set(":protocol", "websocket")
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", c.version, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		pw.Close()
		return fmt.Sprint(resp.StatusCode)
	}
	return "open " + resp.Header.Get("Sec-WebSocket-Protocol") + " " + talk(t, resp.Body, pw, pw.Close)
}

func websocketH1(t *testing.T, addr, path string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n", path)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 {
		return fmt.Sprint(resp.StatusCode)
	}
	return "open " + resp.Header.Get("Sec-WebSocket-Protocol") + " " + talk(t, br, conn, conn.CloseWrite)
}

// talk says "one " and "two" when it has heard what was before, and ends.
func talk(t *testing.T, r io.Reader, w io.Writer, end func() error) string {
	t.Helper()
	heard := make([]byte, len("hello one "))
	hear := func(n int) []byte {
		if _, err := io.ReadFull(r, heard[:n]); err != nil {
			t.Fatal(err)
		}
		return heard[:n]
	}
	text := string(hear(len("hello ")))
	io.WriteString(w, "one ")
	text += string(hear(len("one ")))
	io.WriteString(w, "two")
	end()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text + string(rest)
}
