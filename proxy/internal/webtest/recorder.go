// Package webtest is what the tests of all HTTP fronts share: a strict
// recording backend, and the policy and handler of a minimal proxy.
package webtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// MustListen listens on a free port of 127.0.0.1.
func MustListen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// StartBackend serves each connection by f and ends with the test.
func StartBackend(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	ln := MustListen(t)
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

// A Seen is a request as the strict recorder read it.
type Seen struct {
	Method, Target, Host string
	Header               map[string][]string // lower-case names
	Body                 string
}

// A Recorder is a backend that takes nothing but canonical HTTP/1.1 and
// answers each request with 200 "ok".
type Recorder struct {
	Addr string

	mu     sync.Mutex
	got    []Seen
	faults []string
	raw    bytes.Buffer
}

func StartRecorder(t testing.TB) *Recorder {
	r := &Recorder{}
	r.Addr = StartBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(io.TeeReader(c, writerFunc(func(p []byte) (int, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.raw.Write(p)
		})))
		for {
			s, err := ReadStrict(br)
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

func (r *Recorder) Requests() ([]Seen, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Seen(nil), r.got...), append([]string(nil), r.faults...)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

var errIncomplete = errors.New("connection ended inside a request, or before one")

// ReadStrict is the second parser: slow, obvious, and content with nothing
// but the canonical form.
func ReadStrict(br *bufio.Reader) (Seen, error) {
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
		return Seen{}, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" || parts[0] == "" || parts[1] == "" {
		return Seen{}, fmt.Errorf("request line %q", first)
	}
	s := Seen{Method: parts[0], Target: parts[1], Header: map[string][]string{}}
	for {
		l, err := line()
		if err != nil {
			return Seen{}, err
		}
		if l == "" {
			break
		}
		name, value, ok := strings.Cut(l, ": ")
		if !ok || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$%&'*+^`|~") != "" || strings.TrimSpace(value) != value {
			return Seen{}, fmt.Errorf("field line %q", l)
		}
		s.Header[strings.ToLower(name)] = append(s.Header[strings.ToLower(name)], value)
	}
	h := s.Header
	if len(h["host"]) != 1 || len(h["content-length"]) > 1 || len(h["transfer-encoding"]) > 1 ||
		len(h["content-length"]) == 1 && len(h["transfer-encoding"]) == 1 {
		return Seen{}, fmt.Errorf("host %q content-length %q transfer-encoding %q", h["host"], h["content-length"], h["transfer-encoding"])
	}
	s.Host = h["host"][0]
	if te := h["transfer-encoding"]; len(te) == 1 {
		if te[0] != "chunked" {
			return Seen{}, fmt.Errorf("transfer-encoding %q", te)
		}
		for {
			l, err := line()
			if err != nil {
				return Seen{}, err
			}
			n, err := strconv.ParseUint(l, 16, 31)
			if err != nil || strconv.FormatUint(n, 16) != l {
				return Seen{}, fmt.Errorf("chunk-size %q", l)
			}
			data := make([]byte, n)
			if _, err := io.ReadFull(br, data); err != nil {
				return Seen{}, errIncomplete
			}
			s.Body += string(data)
			if l, err := line(); err != nil || l != "" {
				if err == nil {
					err = fmt.Errorf("after chunk: %q", l)
				}
				return Seen{}, err
			}
			if n == 0 {
				return s, nil
			}
		}
	}
	if cl := h["content-length"]; len(cl) == 1 {
		n, err := strconv.ParseUint(cl[0], 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != cl[0] {
			return Seen{}, fmt.Errorf("content-length %q", cl[0])
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(br, data); err != nil {
			return Seen{}, errIncomplete
		}
		s.Body = string(data)
	}
	return s, nil
}
