// Package probe asks servers, as one of their clients, for what only friends
// may have: a mail server to take a letter for elsewhere, a name server to look
// up any name. A server that does so for all who come through a proxy is an
// open relay, an open resolver.
//
//	a := probe.Mail(ctx, conn, nil) // no letter is sent
//	if a.Verdict == probe.Trusts {
//		log.Warn("open relay", "answer", a.Text)
//	}
package probe

import (
	"context"
	"net"
	"time"
)

// A Verdict is what a server does for a client. The zero Verdict is Unclear.
type Verdict uint8

const (
	Unclear Verdict = iota // it could not be seen
	Refuses                // it does not
	Trusts                 // it does
)

// An Answer is what came of a question.
type Answer struct {
	Verdict Verdict
	Text    string // of the server, or why there is none; one line
}

// within bounds one question with all that belongs to it: mail servers may make
// strangers wait for their greeting.
const within = 30 * time.Second

// bound makes conn end with ctx, and in time. stop undoes the first.
func bound(ctx context.Context, conn net.Conn) (stop func() bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }), nil
}

func unclear(err error) Answer { return Answer{Unclear, err.Error()} }
