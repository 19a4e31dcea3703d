package http3

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	quichttp "github.com/quic-go/quic-go/http3"

	"genkan/proxy/message"
)

// A tunnel is a stream that became a websocket (RFC 9220), as a net.Conn. Its
// waits are bounded by whoever relays, but for each write.
type tunnel struct {
	*quichttp.Stream
	conn *quic.Conn
	wait time.Duration // of one write
	sent int64
	shut bool // we have sent the end
}

var errCut = errors.New("websocket cut")

// upgrade opens the websocket and lets the bytes pass.
func (ex *exchange) upgrade(conn *quic.Conn, h message.Handler, resp *message.Response) {
	sent, err := ex.relay(conn, resp)
	h.Done(&ex.req, resp, message.Outcome{Sent: sent, Err: err})
	resp.Release.Close()
}

func (ex *exchange) relay(conn *quic.Conn, resp *message.Response) (sent int64, err error) {
	ex.head(resp)
	ex.deadline()
	ex.w.WriteHeader(http.StatusOK)
	stream, err := ex.w.(quichttp.HTTPStreamer).HTTPStream()
	if err != nil {
		return 0, err
	}
	stream.SetDeadline(time.Time{})
	t := &tunnel{Stream: stream, conn: conn, wait: ex.s.config.WriteTimeout}
	ex.s.config.Relay(t, nil, resp.Upgraded, resp.Early)
	if !t.shut {
		err = errCut
	}
	t.Close()
	return t.sent, err
}

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) {
	t.SetWriteDeadline(time.Now().Add(t.wait))
	n, err := t.Stream.Write(p)
	t.sent += int64(n)
	return n, err
}

// CloseWrite ends our side.
func (t *tunnel) CloseWrite() error {
	t.shut = true
	return t.Stream.Close()
}

// Close ends the work on the stream: what is not at its end is reset.
func (t *tunnel) Close() error {
	t.CancelRead(quic.StreamErrorCode(quichttp.ErrCodeRequestCanceled))
	if !t.shut {
		t.CancelWrite(quic.StreamErrorCode(quichttp.ErrCodeConnectError))
	}
	return nil
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.conn.RemoteAddr() }
