package http1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"genkan/proxy/exchange"
	"genkan/proxy/http1"
	"genkan/proxy/internal/webtest"
)

func TestFailedBackends(t *testing.T) {
	closed := webtest.MustListen(t)
	closed.Close()
	for _, row := range []struct {
		name, backend string
		status        int
		fault         http1.Fault
	}{
		{"refused", closed.Addr().String(), 502, http1.FaultDial},
		{"silent", webtest.StartBackend(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) }), 504, http1.FaultTimeout},
		{"closes", webtest.StartBackend(t, func(c *net.TCPConn) { http.ReadRequest(bufio.NewReader(c)) }), 502, http1.FaultClosed},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := startFront(t, row.backend, func(_ *http1.Config, tc *http1.TransportConfig) {
				tc.HeadTimeout = 100 * time.Millisecond
			})
			c := dialClient(t, f.Addr)
			c.send(t, get)
			resp, body := c.answer(t, "GET")
			if resp.StatusCode != row.status || strings.Contains(body, row.backend) {
				t.Errorf("answer %s %q, want %d without the backend's address", resp.Status, body, row.status)
			}
			if r := f.result(t); r.Fault != row.fault || r.Err == nil {
				t.Errorf("logged %+v, want fault %d", r, row.fault)
			}
		})
	}
}

// result waits for the log line of the first exchange.
func (f *front) result(t *testing.T) exchange.Result {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if rs := f.Policy.Results(); len(rs) > 0 {
			return rs[0]
		}
	}
	t.Fatal("nothing was logged")
	return exchange.Result{}
}

func TestSlowClientIsAnswered408(t *testing.T) {
	f := startFront(t, webtest.StartRecorder(t).Addr, func(c *http1.Config, _ *http1.TransportConfig) {
		c.HeadTimeout, c.BodyGrace = 50*time.Millisecond, 50*time.Millisecond
	})
	for _, row := range []struct{ name, text string }{
		{"head", "GET / HTTP/1.1\r\nHost:"},
		{"small_body", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nx"},
		{"large_body", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999\r\n\r\nx"},
		{"chunked", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := dialClient(t, f.Addr)
			c.send(t, row.text)
			if resp, _ := c.answer(t, "GET"); resp.StatusCode != 408 || !resp.Close {
				t.Errorf("answer %s, want 408 and close", resp.Status)
			}
			c.checkClosed(t)
		})
	}
}

// A client that gives up while its request waits ends the work at the backend.
func TestGoneClientReachesBackend(t *testing.T) {
	entered, left := make(chan bool, 1), make(chan bool, 1)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		left <- true
	})
	f := startFront(t, addr, nil)
	c := dialClient(t, f.Addr)
	c.send(t, get)
	<-entered
	c.Close()
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the backend still works for a client that has gone")
	}
	if r := f.result(t); r.Fault != http1.FaultAborted {
		t.Errorf("logged %+v, want fault %d", r, http1.FaultAborted)
	}
}

func TestDrain(t *testing.T) {
	hold := make(chan bool)
	addr := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-hold
		}
	})
	f := startFront(t, addr, nil)
	idle, busy := dialClient(t, f.Addr), dialClient(t, f.Addr)
	idle.send(t, get)
	idle.answer(t, "GET")
	busy.send(t, "GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
	for all, waiting := f.server.Conns(); all != 2 || waiting != 1; all, waiting = f.server.Conns() {
		time.Sleep(time.Millisecond)
	}
	f.server.Drain()
	idle.checkClosed(t)
	close(hold)
	if resp, _ := busy.answer(t, "GET"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("answer %s, close %v; want 200 and close", resp.Status, resp.Close)
	}
	busy.checkClosed(t)
}
