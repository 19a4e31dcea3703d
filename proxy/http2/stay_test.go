package http2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"genkan/proxy/internal/webtest"
)

// A client that still sends when it is answered may end, and is told what is
// wrong with the rest; else the stream is reset without a fault after a while.
func TestAnsweredEarly(t *testing.T) {
	eager := webtest.StartBackend(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		io.Copy(io.Discard, c)
	})
	addr := startFront(t, eager, nil).Addr
	for name, row := range map[string]struct {
		then func(fr *h2.Framer)
		want string
	}{
		"ends":        {func(fr *h2.Framer) { fr.WriteData(1, true, make([]byte, 30000-(1<<14))) }, "[]"},
		"too-much":    {func(fr *h2.Framer) { fr.WriteData(1, false, make([]byte, 1<<14)) }, "[PROTOCOL_ERROR]"},
		"too-little":  {func(fr *h2.Framer) { fr.WriteData(1, true, []byte("x")) }, "[PROTOCOL_ERROR]"},
		"window":      {func(fr *h2.Framer) { fr.WriteWindowUpdate(1, 1<<31-1) }, "[FLOW_CONTROL_ERROR]"},
		"gives-up":    {func(fr *h2.Framer) { fr.WriteRSTStream(1, h2.ErrCodeCancel) }, "[]"},
		"stays-quiet": {func(*h2.Framer) {}, "[NO_ERROR]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, h2.ClientPreface)
			fr := h2.NewFramer(c, nil)
			fr.WriteSettings()
			var head bytes.Buffer
			enc := hpack.NewEncoder(&head)
			for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a.test"}, {"content-length", "30000"}} {
				enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true})
			fr.WriteData(1, false, make([]byte, 1<<14))
			in := reader(c)
			for answered := false; !answered; {
				c.SetReadDeadline(time.Now().Add(patience))
				f, err := in.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				d, ok := f.(*h2.DataFrame)
				answered = ok && d.StreamEnded()
			}
			row.then(fr)
			if got := listenBy(in, c, 2500*time.Millisecond); fmt.Sprint(got.resets) != row.want || got.closed {
				t.Errorf("told %+v, want resets %s", got, row.want)
			}
		})
	}
}
