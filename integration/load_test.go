package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"genkan/integration/lab"
)

// A load is clients of both families that ask for a page again and again, on
// kept connections and on new ones.
type load struct {
	asked, failed atomic.Int64

	mu    sync.Mutex // guards first
	first error

	end  chan struct{}
	done sync.WaitGroup
}

const loadPage = "0123456789abcdef0123456789abcdef\n"

// startLoadBackend answers every request with loadPage.
func startLoadBackend(t *testing.T, w *world, addr string) *http.Server {
	t.Helper()
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, loadPage)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return s
}

// startLoad starts one client a family and kind of connection, each with a
// pause between two requests.
func startLoad(t *testing.T, w *world, pause time.Duration) *load {
	t.Helper()
	l := &load{end: make(chan struct{})}
	for _, c := range clients[:2] {
		for _, keep := range []bool{true, false} {
			client := w.httpClient(c.addr, keep)
			l.done.Go(func() {
				defer client.CloseIdleConnections()
				l.run(t.Context(), client, "http://"+c.to+"/", pause)
			})
		}
	}
	t.Cleanup(l.stop)
	return l
}

// httpClient dials inside the client's namespace.
func (w *world) httpClient(addr string, keep bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, network, to string) (c net.Conn, err error) {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0))}
			err = w.client(addr).Do(func() error {
				c, err = d.DialContext(ctx, network, to)
				return err
			})
			return c, err
		},
	}}
}

func (l *load) run(ctx context.Context, client *http.Client, url string, pause time.Duration) {
	for {
		select {
		case <-l.end:
			return
		case <-time.After(pause):
		}
		l.asked.Add(1)
		if err := ask(ctx, client, url); err != nil {
			l.failed.Add(1)
			l.mu.Lock()
			if l.first == nil {
				l.first = err
			}
			l.mu.Unlock()
		}
	}
}

// ask wants the page.
func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || string(body) != loadPage) {
		err = fmt.Errorf("status %d, %q", response.StatusCode, body)
	}
	return err
}

// stop ends the clients; it may be called again.
func (l *load) stop() {
	select {
	case <-l.end:
	default:
		close(l.end)
	}
	l.done.Wait()
}

// err is the first failure.
func (l *load) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// loadConfig has one site for the load; n makes each version another.
func loadConfig(n int) string {
	return tunnelConfig + fmt.Sprintf(`
[site.load]
hosts  = ["default"]
listen = ["tunnel:80", "%s:80"]
to     = "%s:8080"
access = ["deny 198.51.100.%d", "allow all"]
`, lab.FrontV4, lab.BackendV4, n%200)
}
