package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"genkan/acl"
)

// patience bounds every wait of the tests.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	before := openFiles()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if after := openFiles(); after > before+4 { // the runtime's epoll, eventfd, random device
		fmt.Fprintf(os.Stderr, "descriptors leaked: %d before, %d after\n", before, after)
		code = 1
	}
	os.Exit(code)
}

func openFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// A logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// waitFor waits for a log line that has all parts, and gives it.
func (b *logBuffer) waitFor(t *testing.T, parts ...string) string {
	t.Helper()
	var line string
	poll(t, fmt.Sprintf("no log line with %q in:\n%s", parts, b), func() bool {
		for line = range strings.Lines(b.String()) {
			missing := 0
			for _, part := range parts {
				if !strings.Contains(line, part) {
					missing++
				}
			}
			if missing == 0 {
				return true
			}
		}
		return false
	})
	return line
}

// poll waits for ok.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A running is a Server that serves, for one test.
type running struct {
	*Server
	log  *logBuffer
	stop func() error // ends Serve and gives its error; may be called twice
}

func start(t *testing.T, cfg Config) running {
	t.Helper()
	log := &logBuffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("Serve did not end")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return running{s, log, stop}
}

// at gives the address of the listener on host, which the test listens on once.
func (r running) at(t *testing.T, host string) string {
	t.Helper()
	for _, addr := range r.Addrs() {
		if h, _, _ := net.SplitHostPort(addr.String()); h == host {
			return addr.String()
		}
	}
	t.Fatalf("no listener on %s among %v", host, r.Addrs())
	return ""
}

func mustListen(t *testing.T, texts ...string) []Listen {
	t.Helper()
	var all []Listen
	for _, text := range texts {
		l, err := ParseListen(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

func mustBackend(t *testing.T, texts ...string) []Backend {
	t.Helper()
	var all []Backend
	for _, text := range texts {
		b, err := ParseBackend(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func mustRules(t *testing.T, rules ...string) *acl.Policy {
	t.Helper()
	var texts []acl.RuleText
	for i, rule := range rules {
		texts = append(texts, acl.RuleText{Text: rule, Pos: acl.Pos{File: "genkan.toml", Line: i + 1, Col: 10}})
	}
	p, err := acl.Compile(texts, acl.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustDial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// startBackend serves each connection with serve, on 127.0.0.1.
func startBackend(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	return startBackendAt(t, "127.0.0.1:0", serve)
}

func startBackendAt(t *testing.T, addr string, serve func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return ln.Addr().String()
}

// echo keeps io.Copy from splicing: the runtime would keep the pipes for long,
// which looks like a leak.
func echo(conn *net.TCPConn) {
	io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
}

// wantReset connects and wants an RST for it, which may come before the
// connect call has returned.
func wantReset(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err == nil {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%s: %v, want a reset", addr, err)
	}
}

// unusedAddr is an address of this machine where nobody listens.
func unusedAddr(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// freePort is one that nobody has at this moment, on TCP and UDP, and below
// those that the kernel gives to clients.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		tcp.Close()
		if udp, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port)); err == nil {
			udp.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func portOf(t *testing.T, addr string) uint16 {
	t.Helper()
	return netip.MustParseAddrPort(addr).Port()
}
