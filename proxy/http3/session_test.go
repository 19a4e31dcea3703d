package http3_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/proxy/http3"
	"genkan/proxy/internal/webtest"
	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// dialRaw is a client of f that makes its frames itself.
func (f *front) dialRaw(t *testing.T) *quic.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := quic.DialAddr(ctx, f.addr, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h3"}},
		&quic.Config{KeepAlivePeriod: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseWithError(0, "") })
	control, err := c.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Write([]byte{0x00, 0x04, 0x00}); err != nil { // a control stream; SETTINGS without any
		t.Fatal(err)
	}
	return c
}

// headers is a HEADERS frame of fields, each a literal (RFC 9204 §4.5.6).
func headers(fields ...[2]string) []byte {
	block := []byte{0, 0}
	for _, f := range fields {
		block = prefixed(block, 0x20, 3, len(f[0]))
		block = append(block, f[0]...)
		block = prefixed(block, 0, 7, len(f[1]))
		block = append(block, f[1]...)
	}
	return append([]byte{0x01, 0x80 | byte(len(block)>>24), byte(len(block) >> 16), byte(len(block) >> 8), byte(len(block))}, block...)
}

// prefixed appends an integer behind the bits of its first byte (RFC 7541 §5.1).
func prefixed(p []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(p, first|byte(n))
	}
	p = append(p, first|byte(most))
	for n -= most; n >= 128; n >>= 7 {
		p = append(p, byte(n)|0x80)
	}
	return append(p, byte(n))
}

var getRoot = headers([2]string{":method", "GET"}, [2]string{":scheme", "https"}, [2]string{":authority", "a.test"}, [2]string{":path", "/"})

// ended waits for the connection's end and gives the code of it.
func ended(t *testing.T, c *quic.Conn) quichttp.ErrCode {
	t.Helper()
	select {
	case <-c.Context().Done():
	case <-time.After(patience):
		t.Fatal("the connection stays")
	}
	var e *quic.ApplicationError
	if !errors.As(context.Cause(c.Context()), &e) || !e.Remote {
		t.Fatalf("the connection ended by %v", context.Cause(c.Context()))
	}
	return quichttp.ErrCode(e.ErrorCode)
}

// A client that only begins its requests goes after FirstRequest, and after
// Idle where it has made one.
func TestUnfinishedHeaders(t *testing.T) {
	f := startFront(t, webtest.StartRecorder(t).Addr, func(c *http3.Config) {
		c.FirstRequest, c.Idle = 300*time.Millisecond, 600*time.Millisecond
	})
	for _, asks := range []bool{false, true} {
		c := f.dialRaw(t)
		if asks {
			if got := ask(t, c); got == 0 {
				t.Error("no answer")
			}
		}
		begun, err := c.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := begun.Write(getRoot[:7]); err != nil {
			t.Fatal(err)
		}
		if code := ended(t, c); code != quichttp.ErrCodeNoError {
			t.Errorf("ended by %v", code)
		}
	}
}

// ask makes a request, and gives how long the answer is.
func ask(t *testing.T, c *quic.Conn) int {
	t.Helper()
	s, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(getRoot); err != nil {
		t.Fatal(err)
	}
	s.Close()
	answer, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return len(answer)
}

// A client that gives up its requests has its connection closed.
func TestManyAborts(t *testing.T) {
	bit := make(chan message.Limit, 1)
	silent := webtest.StartBackend(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	f := startFront(t, silent, func(c *http3.Config) {
		c.MaxAborts = 20
		c.Bite = func(l message.Limit) {
			select {
			case bit <- l:
			default:
			}
		}
	})
	c := f.dialRaw(t)
	for range 25 {
		s, err := c.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(getRoot); err != nil {
			t.Fatal(err)
		}
		s.Close()
		time.AfterFunc(100*time.Millisecond, func() { s.CancelRead(quic.StreamErrorCode(quichttp.ErrCodeRequestCanceled)) })
	}
	if code, limit := ended(t, c), <-bit; code != quichttp.ErrCodeExcessiveLoad || limit != message.LimitAborts {
		t.Errorf("ended by %v, for %v", code, limit)
	}
}

// Where memory is short, a connection without a request ends soon.
func TestIdleUnderPressure(t *testing.T) {
	conns := map[pressure.Level]*quic.Conn{}
	for _, level := range []pressure.Level{pressure.Calm, pressure.KeepLess} {
		f := startFront(t, webtest.StartRecorder(t).Addr, func(c *http3.Config) { c.Pressure = pressure.At(level) })
		conns[level] = f.dialRaw(t)
		ask(t, conns[level])
	}
	ended(t, conns[pressure.KeepLess])
	if err := conns[pressure.Calm].Context().Err(); err != nil {
		t.Errorf("with memory enough: %v", err)
	}
}
