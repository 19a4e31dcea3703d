package http2_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

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
			c, fr, in := openRaw(t, addr)
			fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: headBlock("POST", [2]string{"content-length", "30000"}), EndHeaders: true})
			fr.WriteData(1, false, make([]byte, 1<<14))
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

// Streams that stay keep their memory while others come and go.
func TestStayBesideOthers(t *testing.T) {
	f := startFront(t, webtest.StartRecorder(t).Addr, nil)
	c, fr, in := openRaw(t, f.Addr)
	ask := func(id uint32, end bool) {
		var more [][2]string
		if !end {
			more = [][2]string{{"content-length", "5"}, {"expect", "nothing"}} // 417 at once
		}
		fr.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: headBlock("POST", more...), EndHeaders: true, EndStream: end})
	}
	const each = 40
	for i := range uint32(each) {
		ask(4*i+1, false)
		ask(4*i+3, true)
	}
	answered := 0
	for answered < 2*each {
		c.SetReadDeadline(time.Now().Add(patience))
		f, err := in.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *h2.MetaHeadersFrame:
			if f.StreamEnded() {
				answered++
			}
		case *h2.DataFrame:
			if f.StreamEnded() {
				answered++
			}
		}
	}
	for i := range uint32(each) {
		fr.WriteData(4*i+1, true, []byte("hello"))
	}
	if got := listenBy(in, c, 1500*time.Millisecond); len(got.resets) > 0 || got.closed {
		t.Errorf("told %+v", got)
	}
}
