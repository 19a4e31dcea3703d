package http1

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
)

// respond sends an answer and reports whether the connection may stay open
// and how many bytes of content were sent. An error is of the backend's
// connection or the client's: either way the client cannot have taken the
// answer for whole.
func (c *Conn) respond(resp *message.Response, keep bool) (_ bool, sent int64, err error) {
	c.answering.Lock()
	c.answered = true
	c.answering.Unlock()
	http11 := c.req.Proto == "HTTP/1.1"
	buf := borrow()
	defer func() { giveBack(buf) }()
	out := appendStatus(buf[:0], resp.Status, resp.Reason)
	out = appendFields(out, resp.Header)
	if !resp.Header.Has("Date") {
		out = appendField(out, "Date", c.s.date())
	}
	chunks := false
	switch {
	case resp.Body == nil:
		if resp.Length >= 0 {
			out = appendLength(out, resp.Length)
		}
	case resp.Length >= 0:
		out = appendLength(out, resp.Length)
	case http11:
		chunks = true
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	default:
		keep = false
	}
	switch {
	case !keep:
		out = append(out, "Connection: close\r\n"...)
	case !http11:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	out = append(out, '\r', '\n')
	if resp.Body == nil {
		return keep, 0, c.write(out)
	}
	if chunks {
		sent, err = c.sendChunks(out, resp.Body)
		return keep, sent, err
	}
	if sent, err = c.sendFirst(out, resp.Body); err != nil {
		return keep, sent, err
	}
	n, err := c.sendPlain(resp.Body)
	return keep, sent + n, err
}

// sendFirst sends the head and, in the same write, the content that is there
// without waiting.
func (c *Conn) sendFirst(out []byte, b message.Body) (int64, error) {
	room := out[len(out):cap(out)]
	if b.Ready() == 0 || len(room) == 0 {
		return 0, c.write(out)
	}
	n, err := b.Read(room)
	if werr := c.write(out[:len(out)+n]); werr != nil {
		return 0, werr
	}
	if err == io.EOF {
		err = nil // the next Read says so again
	}
	return int64(n), err
}

// sendPlain sends the rest of the content as it is.
func (c *Conn) sendPlain(b message.Body) (sent int64, err error) {
	if n, err := c.spliceFrom(b); err != nil || n > 0 {
		sent += n
		if err != nil {
			return sent, err
		}
	}
	buf := borrow()
	defer giveBack(buf)
	for {
		n, err := b.Read(buf)
		if n > 0 {
			if werr := c.write(buf[:n]); werr != nil {
				return sent, werr
			}
			sent += int64(n)
		}
		if err == io.EOF {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
	}
}

// spliceFrom lets the kernel move the content where it can.
func (c *Conn) spliceFrom(b message.Body) (sent int64, err error) {
	from, ok := b.(*body)
	if !ok || !from.canSplice(c.conn) {
		return 0, nil
	}
	progress := func() {
		c.guard.Write(c.s.config.WriteTimeout)
		from.w.guard.Read(from.pace.idle)
	}
	for from.canSplice(c.conn) {
		c.guard.Write(c.s.config.WriteTimeout)
		n, err := from.spliceTo(c.conn, progress)
		c.guard.Write(0)
		sent += n
		if err == fiber.ErrNoPipe {
			break
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// minRoom is the room in a buffer from which another chunk goes into it.
const minRoom = 1024

// sendChunks sends out and then the content in chunks, each as it comes: one
// write for all that is there without waiting.
func (c *Conn) sendChunks(out []byte, b message.Body) (sent int64, err error) {
	for {
		for err == nil && b.Ready() > 0 && cap(out)-len(out) >= minRoom {
			var n int64
			out, n, err = appendChunk(out, b)
			sent += n
		}
		if err == io.EOF {
			return sent, c.write(out)
		}
		if werr := c.write(out); werr != nil || err != nil {
			return sent, errors.Join(err, werr)
		}
		out = out[:0]
		var n int64
		out, n, err = appendChunk(out, b)
		sent += n
	}
}

// appendChunk reads once and appends a chunk, or the last chunk and the
// trailer fields with io.EOF.
func appendChunk(out []byte, b message.Body) ([]byte, int64, error) {
	room := out[len(out):cap(out)]
	n, err := b.Read(room[chunkHead : len(room)-chunkTail])
	if n > 0 {
		out = append(out, frameChunk(room, n)...)
	}
	if err == io.EOF {
		out = append(out, "0\r\n"...)
		out = appendFields(out, b.Trailer())
		out = append(out, '\r', '\n')
	}
	return out, int64(n), err
}

// date is the value of Date (RFC 9110 §6.6.1), made once a second.
func (s *Server) date() string {
	now := time.Now()
	if d := s.dated.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	s.dated.Store(d)
	return d.text
}

type dated struct {
	second int64
	text   string
}

type datePointer = atomic.Pointer[dated]
