package http2

import (
	"errors"
	"net"
	"strconv"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/message"
)

// enableConnect is SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const enableConnect h2.SettingID = 8

// A tunnel is a stream that became a websocket, as a net.Conn. Its waits are
// bounded by whoever relays.
type tunnel struct {
	st   *stream
	sent int64
	shut bool // we have sent the end
}

// upgrade opens the websocket (RFC 8441 §5) and lets the bytes pass.
func (st *stream) upgrade(resp *message.Response) {
	t := &tunnel{st: st}
	st.req.Idle = unbounded
	st.c.mu.Lock()
	st.forever = true
	st.c.mu.Unlock()
	err := st.write(func() error {
		st.answered = true
		st.c.encBuf.Reset()
		st.c.field(":status", strconv.Itoa(200))
		for _, f := range resp.Header {
			st.c.field(f.Name, f.Value)
		}
		return st.c.writeBlock(st.id, false)
	})
	if err == nil {
		st.c.s.config.Relay(t, nil, resp.Upgraded, resp.Early)
		if !t.shut {
			err = errCut
		}
	}
	st.c.h.Done(&st.req, resp, message.Outcome{Sent: t.sent, Err: err})
	resp.Release.Close()
	st.finish(err)
}

var errCut = errors.New("websocket cut")

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) { return t.st.Read(p) }

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) {
	before := t.sent
	err := t.st.writeData(p, false, &t.sent)
	return int(t.sent - before), err
}

// CloseWrite ends our side.
func (t *tunnel) CloseWrite() error {
	t.shut = true
	return t.st.writeEnd(nil)
}

// Close ends the work on the stream: a Read or Write that waits fails.
func (t *tunnel) Close() error {
	t.st.fail(errCut)
	return nil
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.st.c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.st.c.raw.RemoteAddr() }

// SetDeadline is not for streams.
func (*tunnel) SetDeadline(time.Time) error { return errors.ErrUnsupported }

// SetReadDeadline is not for streams.
func (*tunnel) SetReadDeadline(time.Time) error { return errors.ErrUnsupported }

// SetWriteDeadline is not for streams.
func (*tunnel) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
