package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/integration/lab"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"
)

// A traffic is clients of both families that ask in every way there is, at a
// rate, until stop. A request has failed where its answer is wrong, late, or
// does not come; nothing is tried again.
type traffic struct {
	end  chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex // guards what follows
	kinds map[string]*kindCount
	worst time.Duration
}

// A kindCount is how one kind of clients fared.
type kindCount struct {
	asked, failed int
	first         error // failure
}

// A client asks once; fresh clients are told to close what they keep.
type asker interface {
	ask(ctx context.Context) error
	close()
}

// answerWithin is how long an answer may take.
const answerWithin = 10 * time.Second

// startTraffic starts the kinds of clients, each for both families, which ask
// together so many times a second.
func startTraffic(t *testing.T, w *world, rate int, kinds map[string]func(*world, trafficClient) asker) *traffic {
	t.Helper()
	f := &traffic{end: make(chan struct{}), kinds: map[string]*kindCount{}}
	pause := time.Second * time.Duration(2*len(kinds)) / time.Duration(rate)
	for name, make := range kinds {
		for _, c := range clients[:2] {
			kind := name + " " + c.name
			f.kinds[kind] = &kindCount{}
			client := trafficClient{from: c.addr, to: c.to, ns: w.client(c.addr)}
			f.done.Go(func() { f.run(t.Context(), kind, pause, func() asker { return make(w, client) }) })
		}
	}
	t.Cleanup(f.stop)
	return f
}

// A trafficClient is where a client stands.
type trafficClient struct {
	from, to string // addresses; to is in brackets where it is IPv6
	ns       *lab.Namespace
}

func (c trafficClient) dial(ctx context.Context, network, port string) (conn net.Conn, err error) {
	d := net.Dialer{}
	if from := netip.AddrPortFrom(netip.MustParseAddr(c.from), 0); network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(from)
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	err = c.ns.Do(func() error {
		conn, err = d.DialContext(ctx, network, c.to+":"+port)
		return err
	})
	return conn, err
}

// run asks at a steady pace. A client that failed is closed and made anew.
func (f *traffic) run(ctx context.Context, kind string, pause time.Duration, make func() asker) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	one := make()
	defer func() { one.close() }()
	for {
		select {
		case <-f.end:
			return
		case <-tick.C:
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		err := one.ask(ctx)
		cancel()
		f.note(kind, err, time.Since(began))
		if err != nil {
			one.close()
			one = make()
		}
	}
}

func (f *traffic) note(kind string, err error, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.kinds[kind]
	k.asked++
	f.worst = max(f.worst, took)
	if err != nil {
		k.failed++
		if k.first == nil {
			k.first = err
		}
	}
}

// stop ends the clients; it may be called again.
func (f *traffic) stop() {
	select {
	case <-f.end:
	default:
		close(f.end)
	}
	f.done.Wait()
}

// total is how many were asked and failed, and the first failure of each kind.
func (f *traffic) total() (asked, failed int, firsts []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for kind, k := range f.kinds {
		asked += k.asked
		failed += k.failed
		if k.failed > 0 {
			firsts = append(firsts, fmt.Sprintf("%s: %d of %d, the first: %v", kind, k.failed, k.asked, k.first))
		}
		if k.asked == 0 {
			firsts = append(firsts, kind+": never asked")
		}
	}
	slices.Sort(firsts)
	return asked, failed, firsts
}

// mustSucceed ends the traffic and wants no failure.
func (f *traffic) mustSucceed(t *testing.T, what string) {
	t.Helper()
	f.stop()
	asked, failed, firsts := f.total()
	t.Logf("%s: %d of %d requests failed; the slowest took %v", what, failed, asked, f.worst.Round(time.Millisecond))
	if failed > 0 || asked == 0 || len(firsts) > 0 {
		t.Errorf("%d of %d requests failed:\n%s", failed, asked, strings.Join(firsts, "\n"))
	}
}

// allKinds are the ways of trafficConfig's listeners.
var allKinds = map[string]func(*world, trafficClient) asker{
	"HTTP/1 new":  func(_ *world, c trafficClient) asker { return newWeb(c, "http", false) },
	"HTTP/1 kept": func(_ *world, c trafficClient) asker { return newWeb(c, "http", true) },
	"TLS kept":    func(_ *world, c trafficClient) asker { return newWeb(c, "https", true) },
	"HTTP/2":      func(_ *world, c trafficClient) asker { return newWeb(c, "h2", true) },
	"HTTP/3 new":  func(_ *world, c trafficClient) asker { return &webOver3{client: c} },
	"HTTP/3 kept": func(_ *world, c trafficClient) asker { return &webOver3{client: c, keep: true} },
	"websocket":   func(_ *world, c trafficClient) asker { return &streamAsker{client: c, port: "80", open: openWebsocket} },
	"TCP new":     func(_ *world, c trafficClient) asker { return &streamAsker{client: c, port: "7000", uses: 1} },
	"TCP kept":    func(_ *world, c trafficClient) asker { return &streamAsker{client: c, port: "7000"} },
	"UDP":         func(_ *world, c trafficClient) asker { return &udpAsker{client: c, port: "7001"} },
}

// web asks by HTTP/1 or HTTP/2 over TCP.
type web struct {
	http *http.Client
	url  string
}

func newWeb(c trafficClient, scheme string, keep bool) *web {
	tr := &http.Transport{
		DisableKeepAlives: !keep,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test"},
		ForceAttemptHTTP2: scheme == "h2",
	}
	port := "80"
	if scheme != "http" {
		port, tr.Protocols = "443", new(http.Protocols)
		tr.Protocols.SetHTTP1(scheme == "https")
		tr.Protocols.SetHTTP2(scheme == "h2")
	}
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { return c.dial(ctx, network, port) }
	w := &web{http: &http.Client{Transport: tr}, url: "http://mail.example.test/"}
	if scheme != "http" {
		w.url = "https://mail.example.test/"
	}
	return w
}

// ask posts: that is not tried again, but where the server has said that it has
// not begun with it (RFC 9113 §8.7, RFC 9114 §4.1.1), which any client does.
func (w *web) ask(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(loadPage))
	if err != nil {
		return err
	}
	return checkPage(w.http.Do(r))
}

func (w *web) close() { w.http.CloseIdleConnections() }

func checkPage(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != loadPage) {
		err = fmt.Errorf("status %d, %.80q", resp.StatusCode, body)
	}
	return err
}

// webOver3 asks by HTTP/3.
type webOver3 struct {
	client trafficClient
	keep   bool
	tr     *quichttp.Transport
	quic   *quic.Transport
	udp    net.PacketConn
}

func (w *webOver3) ask(ctx context.Context) error {
	if w.tr == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	if !w.keep {
		defer w.close()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://mail.example.test/", strings.NewReader(loadPage))
	if err != nil {
		return err
	}
	return checkPage(w.tr.RoundTrip(r))
}

func (w *webOver3) open() error {
	err := w.client.ns.Do(func() (err error) {
		w.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(w.client.from), 0)))
		return err
	})
	if err != nil {
		return err
	}
	w.quic = &quic.Transport{Conn: w.udp}
	to, err := netip.ParseAddr(strings.Trim(w.client.to, "[]"))
	if err != nil {
		return err
	}
	w.tr = &quichttp.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test"},
		QUICConfig:      &quic.Config{InitialPacketSize: 1200},
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return w.quic.DialEarly(ctx, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 443)), tc, qc)
		},
	}
	return nil
}

func (w *webOver3) close() {
	if w.tr != nil {
		_ = errors.Join(w.tr.Close(), w.quic.Close(), w.udp.Close()) // the answer was had
		w.tr = nil
	}
}
