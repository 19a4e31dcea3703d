package http2

import (
	"slices"
	"time"

	h2 "golang.org/x/net/http2"

	"genkan/proxy/message"
)

// frame does what one frame says. Errors are an h2.StreamError, an
// h2.ConnectionError, a *connError, or of the connection.
func (c *Conn) frame(f h2.Frame) error {
	switch f := f.(type) {
	case *h2.MetaHeadersFrame:
		return c.headers(f)
	case *h2.DataFrame:
		return c.data(f)
	}
	if c.abuse.noteControl(time.Now()) {
		c.abuse.excuse(int(c.sentData.Swap(0)))
		if c.abuse.control > c.abuse.maxControl {
			c.s.config.Bite.Tell(message.LimitControl)
			return fault(h2.ErrCodeEnhanceYourCalm, "more than %d control frames in %v", c.abuse.maxControl, controlWindow)
		}
	}
	switch f := f.(type) {
	case *h2.SettingsFrame:
		return c.settings(f)
	case *h2.PingFrame:
		if f.IsAck() {
			return nil
		}
		return c.write(func() error { return c.writes.WritePing(true, f.Data) })
	case *h2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *h2.RSTStreamFrame:
		return c.rst(f)
	case *h2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return h2.StreamError{StreamID: f.StreamID, Code: h2.ErrCodeProtocol}
		}
	case *h2.PushPromiseFrame:
		return fault(h2.ErrCodeProtocol, "PUSH_PROMISE from a client")
	}
	return nil // GOAWAY, and frames that we do not know (RFC 9113 §4.1)
}

// settings takes the client's, in the order that they are written (§6.5.3).
func (c *Conn) settings(f *h2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.began = true
	err := f.ForeachSetting(func(s h2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case h2.SettingInitialWindowSize:
			return c.setWindow(int64(s.Val))
		case h2.SettingHeaderTableSize:
			c.out.mu.Lock()
			c.enc.SetMaxDynamicTableSize(min(s.Val, 4096))
			c.out.mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.write(func() error { return c.writes.WriteSettingsAck() })
}

const maxWindow = 1<<31 - 1

// setWindow changes what the client takes on each stream; a window may get
// negative by that (§6.9.2).
func (c *Conn) setWindow(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delta := size - c.initWin
	c.initWin = size
	for _, st := range c.streams {
		if st.sendWin += delta; st.sendWin > maxWindow {
			return fault(h2.ErrCodeFlowControl, "window of a stream above 2^31-1")
		}
		st.bell.ring()
	}
	return nil
}

// windowUpdate takes note of what more the client takes (§6.9).
func (c *Conn) windowUpdate(f *h2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.sendWin += int64(f.Increment); c.sendWin > maxWindow {
			return fault(h2.ErrCodeFlowControl, "window of the connection above 2^31-1")
		}
		for _, st := range c.streams {
			st.bell.ring()
		}
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		return c.gone(f.StreamID)
	}
	if st.sendWin += int64(f.Increment); st.sendWin > maxWindow {
		return h2.StreamError{StreamID: f.StreamID, Code: h2.ErrCodeFlowControl}
	}
	st.bell.ring()
	return nil
}

// gone judges a frame for a stream that is not open: one that never was is a
// fault of the connection (§5.1), one that is over may cross its end.
func (c *Conn) gone(id uint32) error {
	if id > c.maxID || id%2 == 0 {
		return fault(h2.ErrCodeProtocol, "frame for stream %d, which was never opened", id)
	}
	return nil
}

// rst ends a stream that the client does not want any more.
func (c *Conn) rst(f *h2.RSTStreamFrame) error {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	if i := slices.Index(c.ours[:], f.StreamID); i >= 0 {
		c.ours[i] = 0 // it knows: nothing more is on its way
	}
	c.mu.Unlock()
	if st == nil {
		return c.gone(f.StreamID)
	}
	answered := c.stays(st)
	c.drop(st, errReset)
	if answered {
		return nil
	}
	return c.countAbort()
}

func (c *Conn) countAbort() error {
	if c.abuse.aborts.GivenUp() {
		c.s.config.Bite.Tell(message.LimitAborts)
		aborted, begun := c.abuse.aborts.Counts()
		return fault(h2.ErrCodeEnhanceYourCalm, "%d of %d streams aborted", aborted, begun)
	}
	return nil
}

// resetByClient resets a stream for a fault of the client's.
func (c *Conn) resetByClient(id uint32, code h2.ErrCode) error {
	c.mu.Lock()
	st := c.streams[id]
	c.mu.Unlock()
	if id > c.maxID && id%2 == 1 {
		c.maxID = id // refused, and not to be opened again
		c.abuse.aborts.Begin(time.Now())
	}
	if st != nil {
		c.drop(st, errReset)
	}
	if err := c.countAbort(); err != nil {
		return err
	}
	return c.write(func() error { return c.writes.WriteRSTStream(id, code) })
}

// data takes content (§6.1).
func (c *Conn) data(f *h2.DataFrame) error {
	id, size := f.StreamID, int64(f.Length)
	if len(f.Data()) == 0 && !f.StreamEnded() && c.abuse.noteControl(time.Now()) {
		c.s.config.Bite.Tell(message.LimitControl)
		return fault(h2.ErrCodeEnhanceYourCalm, "more than %d empty frames in %v", c.abuse.maxControl, controlWindow)
	}
	c.mu.Lock()
	st := c.streams[id]
	c.held += size
	over := c.held > int64(c.s.config.ConnWindow)
	c.mu.Unlock()
	if over {
		return fault(h2.ErrCodeFlowControl, "content beyond the window of the connection")
	}
	if st == nil {
		if err := c.gone(id); err != nil {
			return err
		}
		if err := c.giveBack(0, size); err != nil {
			return err
		}
		if c.weReset(id) {
			return nil // was on its way
		}
		return h2.StreamError{StreamID: id, Code: h2.ErrCodeStreamClosed}
	}
	pad := size - int64(len(f.Data()))
	if code, ok := st.receive(f.Data(), f.StreamEnded()); !ok {
		if err := c.giveBack(0, size); err != nil {
			return err
		}
		return h2.StreamError{StreamID: id, Code: code}
	}
	if c.stays(st) {
		if f.StreamEnded() {
			c.forget(st)
		}
		return c.giveBack(0, st.leftover()+pad)
	}
	return c.giveBack(id, pad)
}

// giveBack returns n bytes of the connection's window, and of a stream's
// where id is not 0.
func (c *Conn) giveBack(id uint32, n int64) error {
	if n <= 0 {
		return nil
	}
	c.mu.Lock()
	c.held -= n
	c.mu.Unlock()
	return c.write(func() error {
		err := c.writes.WriteWindowUpdate(0, uint32(n))
		if err == nil && id != 0 {
			err = c.writes.WriteWindowUpdate(id, uint32(n))
		}
		return err
	})
}

// weReset reports whether the stream is one of the last that we reset.
func (c *Conn) weReset(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.ours[:], id)
}
