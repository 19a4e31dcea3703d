package http2

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"genkan/proxy/message"
)

// handle answers the request, in a fiber or goroutine of its own.
func (st *stream) handle() {
	c := st.c
	st.answer()
	st.recycle()
	c.left()
}

// answer has the request answered, and ends the stream.
func (st *stream) answer() {
	if st.refuse != 0 {
		st.finish(st.send(&message.Response{Status: st.refuse, Length: -1}, new(int64)))
		return
	}
	resp := st.c.h.Handle(&st.req)
	if st.key != "" && st.key.Takes(resp) {
		st.upgrade(resp)
		return
	}
	var sent int64
	err := st.send(resp, &sent)
	st.c.h.Done(&st.req, resp, message.Outcome{Sent: sent, Err: err})
	if resp.Release != nil {
		resp.Release.Close()
	}
	st.finish(err)
}

// finish ends the stream after its answer: with a reset where the answer is
// not whole, a little later where the client still sends.
func (st *stream) finish(err error) {
	c := st.c
	ended := st.hasEnded()
	c.mu.Lock()
	cut := !st.dropped && err != nil
	stays := !st.dropped && err == nil && !ended
	switch c.running--; {
	case stays:
		st.stays = true
		c.staying++
	case cut:
		c.noteReset(st.id)
		fallthrough
	default:
		c.remove(st)
	}
	if len(c.waiting) > 0 {
		c.loop.Post(c.startSoon)
	}
	c.mu.Unlock()
	if stays {
		st.stay()
		return
	}
	c.giveBack(0, st.leftover())
	if cut {
		c.write(func() error { return c.writes.WriteRSTStream(st.id, h2.ErrCodeInternal) })
	}
	c.settle()
}

// frames lends room for content while it is on its way. (A sync.Pool is a
// cache of the runtime's, not state of ours.)
var frames = sync.Pool{New: func() any { return new([maxFrame]byte) }}

// send sends the answer; sent counts its content.
func (st *stream) send(resp *message.Response, sent *int64) error {
	if resp.Body == nil {
		return st.writeHead(resp, nil, true)
	}
	room := frames.Get().(*[maxFrame]byte)
	defer frames.Put(room)
	buf, n := room[:], 0
	var err error
	if resp.Body.Ready() > 0 {
		n, err = resp.Body.Read(buf)
	}
	if err != nil && err != io.EOF {
		return err
	}
	last := err == io.EOF && len(resp.Body.Trailer()) == 0 || resp.Length >= 0 && int64(n) == resp.Length
	first := st.reserveNow(n)
	if err := st.writeHead(resp, buf[:first], last && first == n); err != nil {
		return err
	}
	*sent += int64(first)
	if last && first == n {
		return nil
	}
	if err := st.writeData(buf[first:n], last, sent); err != nil || last {
		return err
	}
	for err == nil {
		n, err = resp.Body.Read(buf)
		last = resp.Length >= 0 && *sent+int64(n) == resp.Length
		if werr := st.writeData(buf[:n], last, sent); werr != nil {
			return werr
		}
		if last {
			return nil
		}
	}
	if err != io.EOF {
		return err
	}
	return st.writeEnd(resp.Body.Trailer())
}

// writeData sends content as the windows allow.
func (st *stream) writeData(p []byte, last bool, sent *int64) error {
	for len(p) > 0 {
		n, err := st.reserve(len(p))
		if err != nil {
			return err
		}
		end := last && n == len(p)
		if end {
			st.whole.Store(true)
		}
		err = st.write(func() error {
			st.c.out.data(st.id, end, p[:n])
			return nil
		})
		if err != nil {
			return err
		}
		st.c.sentData.Add(1)
		*sent += int64(n)
		p = p[n:]
	}
	return nil
}

// writeHead sends the head and the first content in one write.
func (st *stream) writeHead(resp *message.Response, data []byte, end bool) error {
	if err := st.failed(); err != nil {
		return err
	}
	c := st.c
	return st.write(func() error {
		st.answered = true
		st.whole.Store(end)
		c.encBuf.Reset()
		c.field(":status", strconv.Itoa(resp.Status))
		for _, f := range resp.Header {
			c.field(f.Name, f.Value)
		}
		if !resp.Header.Has("Date") {
			c.field("date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
		}
		// With a length behind 304, which has no content, net/http's client
		// waits for some in spite of RFC 9113 §8.1.1.
		if resp.Length >= 0 && resp.Status != 304 {
			c.field("content-length", strconv.FormatInt(resp.Length, 10))
		}
		if err := c.writeBlock(st.id, end && len(data) == 0); err != nil || len(data) == 0 {
			return err
		}
		c.sentData.Add(1)
		c.out.data(st.id, end, data)
		return nil
	})
}

// writeEnd ends the answer, with its trailer where there is one.
func (st *stream) writeEnd(trailer message.Header) error {
	st.whole.Store(true)
	if err := st.failed(); err != nil {
		return err
	}
	c := st.c
	return st.write(func() error {
		if len(trailer) == 0 {
			c.out.data(st.id, true, nil)
			return nil
		}
		c.encBuf.Reset()
		for _, f := range trailer {
			c.field(f.Name, f.Value)
		}
		return c.writeBlock(st.id, true)
	})
}

// inform sends an interim answer unless the final one has begun: 100 comes
// from whoever passes the body on, and does not wait for room.
func (st *stream) inform(status int, h message.Header) {
	if st.failed() != nil {
		return
	}
	c := st.c
	write := st.write
	if status == 100 {
		write = c.write
	}
	write(func() error {
		if st.answered {
			return nil
		}
		c.encBuf.Reset()
		c.field(":status", strconv.Itoa(status))
		for _, f := range h {
			c.field(f.Name, f.Value)
		}
		return c.writeBlock(st.id, false)
	})
}

// field encodes one field; its name goes out in lower case (RFC 9113 §8.2).
// c.out.mu is held.
func (c *Conn) field(name, value string) {
	c.enc.WriteField(hpack.HeaderField{Name: c.lower(name), Value: value})
}

// maxNames is how many names of fields a connection keeps in lower case.
const maxNames = 64

// lower gives a name in lower case. c.out.mu is held.
func (c *Conn) lower(name string) string {
	if low, ok := c.names[name]; ok {
		return low
	}
	if len(c.names) >= maxNames || len(name) > maxNames {
		return strings.ToLower(name)
	}
	if c.names == nil {
		c.names = map[string]string{}
	}
	name = strings.Clone(name) // it may be a piece of much more
	low := strings.ToLower(name)
	c.names[name] = low
	return low
}

// writeBlock sends what was encoded. c.out.mu is held.
func (c *Conn) writeBlock(id uint32, end bool) error {
	block := c.encBuf.Bytes()
	first := block[:min(len(block), maxFrame)]
	rest := block[len(first):]
	err := c.writes.WriteHeaders(h2.HeadersFrameParam{
		StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0,
	})
	for err == nil && len(rest) > 0 {
		part := rest[:min(len(rest), maxFrame)]
		rest = rest[len(part):]
		err = c.writes.WriteContinuation(id, len(rest) == 0, part)
	}
	return err
}
