package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"genkan/acl"
	"genkan/proxy/exchange"
	"genkan/proxy/http1"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
	"genkan/proxy/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A policy that is the least a proxy does: one backend, and its own word on
// who the client is.
type policy struct {
	to http1.Target

	mu      sync.Mutex
	results []exchange.Result
}

func (p *policy) Decide(r *message.Request) exchange.Decision {
	r.Header.DelFunc(web.Claims)
	r.Header.Add("X-Forwarded-For", r.Source.Client.Addr.String())
	r.Header.Add("X-Real-IP", r.Source.Client.Addr.String())
	return exchange.Decision{To: p.to}
}

func (p *policy) Done(_ *message.Request, _ exchange.Decision, res exchange.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = append(p.results, res)
}

// A front is our proxy between a listener and one backend.
type front struct {
	addr      string
	transport *http1.Transport
	server    *http1.Server
	policy    *policy
}

func startFront(t testing.TB, backend string, edit func(*http1.Config, *http1.TransportConfig)) *front {
	t.Helper()
	s := sweep.New()
	dialer := net.Dialer{}
	tc := http1.TransportConfig{
		Sweeper: s,
		Dial: func(ctx context.Context, to http1.Target) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", to.Addr.String())
		},
	}
	sc := http1.Config{Sweeper: s, Relay: relay}
	if edit != nil {
		edit(&sc, &tc)
	}
	ln := mustListen(t)
	f := &front{
		addr: ln.Addr().String(), transport: http1.NewTransport(tc), server: http1.NewServer(sc),
		policy: &policy{to: http1.Target{Addr: netip.MustParseAddrPort(backend)}},
	}
	h := &exchange.Handler{Policy: f.policy, Transport: f.transport}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
			from := message.Source{
				Client:     acl.Client{Addr: acl.AddrFrom(peer.Addr())},
				ClientPort: peer.Port(),
				Local:      c.LocalAddr().(*net.TCPAddr).AddrPort(),
			}
			wg.Go(func() { f.server.NewConn(c, nil, from, h).Serve() })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		f.server.Cut()
		f.transport.CloseIdle()
		cancel()
		wg.Wait()
	})
	return f
}

func relay(client net.Conn, early []byte, backend net.Conn, late []byte) {
	var wg sync.WaitGroup
	pass := func(dst net.Conn, first []byte, src net.Conn) {
		dst.Write(first)
		io.Copy(dst, src)
		dst.Close()
		src.Close()
	}
	wg.Go(func() { pass(backend, early, client) })
	wg.Go(func() { pass(client, late, backend) })
	wg.Wait()
}

func mustListen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func mustDial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// startBackend serves each connection by f and ends with the test.
func startBackend(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	ln := mustListen(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[*net.TCPConn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// A seen is a request as the strict recorder read it.
type seen struct {
	method, target, host string
	header               map[string][]string // lower-case names
	body                 string
}

// A recorder is a backend that takes nothing but canonical HTTP/1.1 and
// answers each request with 200 "ok".
type recorder struct {
	addr string

	mu     sync.Mutex
	got    []seen
	faults []string
	raw    bytes.Buffer
}

func startRecorder(t testing.TB) *recorder {
	r := &recorder{}
	r.addr = startBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(io.TeeReader(c, writerFunc(func(p []byte) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.raw.Write(p)
		})))
		for {
			s, err := readStrict(br)
			r.mu.Lock()
			if err == nil {
				r.got = append(r.got, s)
			} else if !errors.Is(err, errIncomplete) {
				r.faults = append(r.faults, err.Error())
			}
			r.mu.Unlock()
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return r
}

func (r *recorder) requests() ([]seen, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]seen(nil), r.got...), append([]string(nil), r.faults...)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

var errIncomplete = errors.New("connection ended inside a request, or before one")

// readStrict is the second parser: slow, obvious, and content with nothing
// but the canonical form.
func readStrict(br *bufio.Reader) (seen, error) {
	line := func() (string, error) {
		l, err := br.ReadString('\n')
		if err != nil {
			return "", errIncomplete
		}
		if !strings.HasSuffix(l, "\r\n") || strings.ContainsAny(l[:len(l)-2], "\r\n\x00") {
			return "", fmt.Errorf("line %q: bare CR, LF or NUL", l)
		}
		return l[:len(l)-2], nil
	}
	first, err := line()
	if err != nil {
		return seen{}, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" || parts[0] == "" || parts[1] == "" {
		return seen{}, fmt.Errorf("request line %q", first)
	}
	s := seen{method: parts[0], target: parts[1], header: map[string][]string{}}
	for {
		l, err := line()
		if err != nil {
			return seen{}, err
		}
		if l == "" {
			break
		}
		name, value, ok := strings.Cut(l, ": ")
		if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$%&'*+^`|~") != "" || strings.TrimSpace(value) != value {
			return seen{}, fmt.Errorf("field line %q", l)
		}
		s.header[strings.ToLower(name)] = append(s.header[strings.ToLower(name)], value)
	}
	h := s.header
	if len(h["host"]) != 1 || len(h["content-length"]) > 1 || len(h["transfer-encoding"]) > 1 ||
		len(h["content-length"]) == 1 && len(h["transfer-encoding"]) == 1 {
		return seen{}, fmt.Errorf("host %q content-length %q transfer-encoding %q", h["host"], h["content-length"], h["transfer-encoding"])
	}
	s.host = h["host"][0]
	if te := h["transfer-encoding"]; len(te) == 1 {
		if te[0] != "chunked" {
			return seen{}, fmt.Errorf("transfer-encoding %q", te)
		}
		for {
			l, err := line()
			if err != nil {
				return seen{}, err
			}
			n, err := strconv.ParseUint(l, 16, 31)
			if err != nil || strconv.FormatUint(n, 16) != l {
				return seen{}, fmt.Errorf("chunk-size %q", l)
			}
			data := make([]byte, n)
			if _, err := io.ReadFull(br, data); err != nil {
				return seen{}, errIncomplete
			}
			s.body += string(data)
			if l, err := line(); err != nil || l != "" {
				if err == nil {
					err = fmt.Errorf("after chunk: %q", l)
				}
				return seen{}, err
			}
			if n == 0 {
				return s, nil
			}
		}
	}
	if cl := h["content-length"]; len(cl) == 1 {
		n, err := strconv.ParseUint(cl[0], 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != cl[0] {
			return seen{}, fmt.Errorf("content-length %q", cl[0])
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(br, data); err != nil {
			return seen{}, errIncomplete
		}
		s.body = string(data)
	}
	return s, nil
}

// readFor collects what the connection gives until it closes or the time is
// over, and reports whether it closed.
func readFor(c net.Conn, d time.Duration) (got []byte, closed bool) {
	c.SetReadDeadline(time.Now().Add(d))
	got, err := io.ReadAll(c)
	return got, err == nil || !errors.Is(err, errTimeout)
}
