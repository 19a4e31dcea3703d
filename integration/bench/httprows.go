package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"
)

// httpRows are all that is measured over HTTP. What is wanted is a share of the
// best of nginx and HAProxy, or of Caddy where only that one can do it.
func httpRows(ctx context.Context, p plan) []row {
	ask := func(name string, bound float64, measure func(*contestant) ([]float64, error)) row {
		return row{
			columns: []column{{name, "µs CPU", bound, true}, {name, "1/s", 1, false}},
			rounds:  p.rounds,
			measure: measure,
		}
	}
	plain := func(path string, header ...string) func(*contestant) ([]float64, error) {
		return func(c *contestant) ([]float64, error) {
			return wrk(ctx, c, p, fmt.Sprintf("http://%s%s", c.listen, path), header...)
		}
	}
	secure := func(header ...string) func(*contestant) ([]float64, error) {
		return func(c *contestant) ([]float64, error) {
			return wrk(ctx, c, p, fmt.Sprintf("https://%s/1k", c.secure), header...)
		}
	}
	h3 := ask("HTTP/3, 1 KiB", 0.5, func(c *contestant) ([]float64, error) { return loadHTTP3(ctx, c, p) })
	h3.fits = func(c *contestant) bool { return c.quic }
	return []row{
		{ // first, as it is the memory of a young process
			columns: []column{{fmt.Sprintf("idle connection, of %d", p.idle), "KiB", 1, true}},
			rounds:  1,
			measure: func(c *contestant) ([]float64, error) { return idleHTTP(c, p.idle) },
		},
		ask("HTTP/1, 1 KiB", 1, plain("/1k")),
		ask("HTTP/1, 100 KiB", 1, plain("/100k")),
		ask("HTTP/1, 10 MiB", 1, plain("/10m")),
		ask("HTTP/1, new connection", 1, plain("/1k", "Connection: close")),
		ask("TLS 1.3, 1 KiB", 1.2, secure()),
		ask("TLS 1.3, handshake", 1.2, secure("Connection: close")),
		ask("HTTP/2, 1 KiB", 1.2, func(c *contestant) ([]float64, error) { return h2load(ctx, c, p) }),
		h3,
	}
}

// timed runs f and gives the contestant's CPU time meanwhile, in µs.
func timed(c *contestant, f func() error) (float64, error) {
	before, err := c.session().cpu()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := c.session().cpu()
	return micro(after - before), err
}

// run runs a load generator.
func run(ctx context.Context, p plan, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, p.time+time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

func seconds(p plan) int { return max(1, int(p.time.Seconds())) }

// wrk asks from p.clients connections and returns CPU in µs a request, and
// requests a second.
func wrk(ctx context.Context, c *contestant, p plan, url string, header ...string) ([]float64, error) {
	args := []string{"-t", "1", "-c", strconv.Itoa(p.clients), "-d", strconv.Itoa(seconds(p)) + "s", "--timeout", "10s", "-H", "Host: " + httpHost}
	for _, h := range header {
		args = append(args, "-H", h)
	}
	var out string
	cpu, err := timed(c, func() (err error) {
		out, err = run(ctx, p, "wrk", append(args, url)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return readWrk(out, cpu)
}

// readWrk reads what wrk 4 writes.
func readWrk(out string, cpu float64) ([]float64, error) {
	var requests, rate float64
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[1] == "requests":
			requests, _ = strconv.ParseFloat(fields[0], 64)
		case fields[0] == "Requests/sec:":
			rate, _ = strconv.ParseFloat(fields[1], 64)
		case strings.HasPrefix(line, "  Non-2xx"):
			return nil, fmt.Errorf("wrk: %s", strings.TrimSpace(line))
		}
	}
	if requests == 0 || rate == 0 {
		return nil, fmt.Errorf("wrk: no requests in %q", out)
	}
	return []float64{cpu / requests, rate}, nil
}

// h2load asks over HTTP/2, ten requests at once on each of 16 connections.
func h2load(ctx context.Context, c *contestant, p plan) ([]float64, error) {
	var out string
	began := time.Now()
	cpu, err := timed(c, func() (err error) {
		out, err = run(ctx, p, "h2load", "-t", "1", "-c", "16", "-m", "10", "-D", strconv.Itoa(seconds(p)),
			"-H", ":authority: "+httpHost, fmt.Sprintf("https://%s/1k", c.secure))
		return err
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		// requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, …
		if f := strings.Fields(line); len(f) > 7 && f[0] == "requests:" {
			if n, _ := strconv.ParseFloat(f[7], 64); n > 0 {
				return []float64{cpu / n, n / time.Since(began).Seconds()}, nil
			}
		}
	}
	return nil, fmt.Errorf("h2load: no requests in %q", out)
}

// loadHTTP3 asks over HTTP/3, ten requests at once on each of 4 connections.
func loadHTTP3(ctx context.Context, c *contestant, p plan) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.time)
	defer cancel()
	var done atomic.Int64
	var asking sync.WaitGroup
	cpu, err := timed(c, func() error {
		for range 4 {
			tr := &quichttp.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: httpHost},
				QUICConfig:      &quic.Config{InitialPacketSize: 1200},
			}
			defer tr.Close()
			for range 10 {
				asking.Go(func() {
					for ctx.Err() == nil && getHTTP3(ctx, tr, c) == nil {
						done.Add(1)
					}
				})
			}
		}
		asking.Wait()
		return nil
	})
	n := float64(done.Load())
	if err == nil && n == 0 {
		err = errors.New("no request was answered over HTTP/3")
	}
	return []float64{cpu / n, n / p.time.Seconds()}, err
}

func getHTTP3(ctx context.Context, tr *quichttp.Transport, c *contestant) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s/1k", c.secure), nil)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || n != 1<<10 {
		return fmt.Errorf("status %d, %d bytes: %w", resp.StatusCode, n, err)
	}
	return nil
}

// idleHTTP returns the KiB that n connections cost which have asked once.
func idleHTTP(c *contestant, n int) ([]float64, error) {
	before, err := c.session().memory()
	if err != nil {
		return nil, err
	}
	for range n {
		conn, err := net.DialTimeout("tcp", c.listen.String(), 10*time.Second)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if err := askOnce(conn); err != nil {
			return nil, err
		}
	}
	after, err := c.session().memory()
	return []float64{float64(after-before) / 1024 / float64(n)}, err
}

func askOnce(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET /1k HTTP/1.1\r\nHost: "+httpHost+"\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 1<<10 {
		return fmt.Errorf("%d bytes of an answer: %w", n, err)
	}
	return nil
}
