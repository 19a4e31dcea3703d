package http3

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"genkan/proxy/message"
)

// inform sends an interim answer unless the final one has begun: 100 comes
// from the goroutine that passes the body on.
func (ex *exchange) inform(status int, h message.Header) {
	ex.answering.Lock()
	defer ex.answering.Unlock()
	if ex.answered {
		return
	}
	ex.deadline()
	for _, f := range h {
		ex.w.Header().Add(f.Name, f.Value)
	}
	ex.w.WriteHeader(status)
	clear(ex.w.Header())
}

// answer has the request answered and reports whether the answer is whole.
func (ex *exchange) answer(conn *quic.Conn, h message.Handler) bool {
	life := time.AfterFunc(ex.s.config.Lifetime, ex.expire)
	defer life.Stop()
	resp := h.Handle(&ex.req)
	ex.answering.Lock()
	ex.answered = true
	ex.answering.Unlock()
	if ex.key != "" && ex.key.Takes(resp) {
		life.Stop()
		ex.upgrade(conn, h, resp)
		return true
	}
	sent, err := ex.send(resp)
	h.Done(&ex.req, resp, message.Outcome{Sent: sent, Err: err})
	if resp.Release != nil {
		resp.Release.Close()
	}
	return err == nil
}

// head sets the fields of the answer.
func (ex *exchange) head(resp *message.Response) http.Header {
	head := ex.w.Header()
	head["Content-Type"] = nil // none is better than one that is guessed
	for _, f := range resp.Header {
		head.Add(f.Name, f.Value)
	}
	return head
}

// frameSize is how much content is sent at once.
const frameSize = 16 << 10

// frames lends room for content while it is on its way. (A sync.Pool is a
// cache of the runtime's, not state of ours.)
var frames = sync.Pool{New: func() any { return new([frameSize]byte) }}

// send sends the answer and returns how much content it sent.
func (ex *exchange) send(resp *message.Response) (sent int64, err error) {
	head := ex.head(resp)
	if resp.Length >= 0 {
		head.Set("Content-Length", strconv.FormatInt(resp.Length, 10))
	}
	ex.deadline()
	ex.w.WriteHeader(resp.Status)
	switch {
	case resp.Length == 0 || resp.Body == nil && resp.Length > 0:
		return 0, ex.unwanted()
	case resp.Body == nil:
		return 0, ex.control.Flush() // else quic-go would say a length
	}
	room := frames.Get().(*[frameSize]byte)
	defer frames.Put(room)
	buf := room[:]
	if resp.Body.Ready() == 0 {
		if err := ex.control.Flush(); err != nil {
			return 0, err
		}
	}
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			ex.deadline()
			if _, werr := ex.w.Write(buf[:n]); werr != nil {
				return sent, werr
			}
			sent += int64(n)
			if sent == resp.Length {
				return sent, ex.unwanted()
			}
			if resp.Body.Ready() == 0 {
				if werr := ex.control.Flush(); werr != nil {
					return sent, werr
				}
			}
		}
		if err == io.EOF {
			for _, f := range resp.Body.Trailer() {
				head.Add(http.TrailerPrefix+f.Name, f.Value)
			}
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
}

// unwanted is why nobody reads the end of an answer, which quic-go sends when
// we are done, with the end of the stream in the same packet; nil: it is
// wanted, as far as we know.
func (ex *exchange) unwanted() error { return context.Cause(ex.ctx) }

// expire ends an exchange that lasted too long.
func (ex *exchange) expire() {
	ex.s.config.Bite.Tell(message.LimitLifetime)
	ex.over.Store(true)
	ex.req.Abort()
	ex.deadline()
	ex.Stop()
}

// deadline bounds the next write.
func (ex *exchange) deadline() {
	if ex.over.Load() {
		ex.control.SetWriteDeadline(time.Unix(1, 0))
		return
	}
	ex.control.SetWriteDeadline(time.Now().Add(ex.s.config.WriteTimeout))
}
