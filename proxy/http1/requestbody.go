package http1

import (
	"errors"
	"sync/atomic"

	"genkan/proxy/message"
)

// A requestBody is the body of a client's request. It fails for good once
// it was stopped.
type requestBody struct {
	body
	conn    *Conn
	stopped atomic.Bool
}

var errStopped = errors.New("nobody wants the rest of the content")

// Read returns content, errStopped after Stop.
func (b *requestBody) Read(p []byte) (int, error) {
	if idle := b.conn.req.Idle; idle > 0 {
		b.pace = pace{idle: idle}
	}
	failed := b.err != nil
	n, err := b.body.Read(p)
	if err != nil {
		err = b.explain(err)
	}
	if err != nil && !failed {
		b.tell(err)
	}
	return n, err
}

// tell tells of content that came too slowly.
func (b *requestBody) tell(err error) {
	var late *RequestError
	if errors.As(err, &late) && late.Status == 408 {
		b.conn.s.config.Bite.Tell(message.LimitBodyRate)
	}
}

// explain names the reason of a failed Read.
func (b *requestBody) explain(err error) error {
	switch {
	case b.stopped.Load():
		return errStopped
	case isTimeout(err):
		return &RequestError{Status: 408, Msg: "content not complete in time"}
	}
	return err
}

// blame finds whose fault it is that a splice from the client to a backend
// failed, as the kernel does not say which of the two sockets it means: the
// client's faults become a *clientError.
func (b *requestBody) blame(err error) error {
	if err == errCut || b.stopped.Load() || b.w.guard.ReadStruck() || !b.w.open() {
		err = b.explain(err)
		b.tell(err)
		return &clientError{err}
	}
	return err
}

// Stop reports whether the body was read to its end; else it ends the
// reading side of the connection, so that a waiting Read returns.
func (b *requestBody) Stop() bool {
	if b.complete.Load() {
		return true
	}
	b.stopped.Store(true)
	b.conn.guard.StrikeRead()
	return false
}
