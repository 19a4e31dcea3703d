package http1

import (
	"errors"
	"sync/atomic"
)

// A requestBody is the body of a client's request. It fails for good once
// it was stopped.
type requestBody struct {
	body
	conn    *conn
	stopped atomic.Bool
}

var errStopped = errors.New("nobody wants the rest of the content")

// Read returns content, errStopped after Stop.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && b.stopped.Load() {
		err = errStopped
	}
	return n, err
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
