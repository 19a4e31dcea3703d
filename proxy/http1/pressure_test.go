package http1_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"genkan/proxy/http1"
	"genkan/proxy/internal/webtest"
	"genkan/proxy/pressure"
)

// With little memory left a connection ends after its answer.
func TestNoKeepAliveUnderPressure(t *testing.T) {
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	for level, want := range map[pressure.Level]bool{pressure.Calm: false, pressure.KeepLess: true} {
		f := startFront(t, addr, func(c *http1.Config, _ *http1.TransportConfig) { c.Pressure = pressure.At(level) })
		conn := mustDial(t, f.Addr)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 || resp.Close != want {
			t.Errorf("%v: %+v %v, want close = %t", level, resp, err, want)
		}
	}
}
