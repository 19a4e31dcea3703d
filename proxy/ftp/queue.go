package ftp

import (
	"context"
	"sync"
)

// maxPending bounds the commands that are sent and not yet answered.
const maxPending = 64

// A queue keeps commands in the order in which they are to be answered. Those
// that the gateway answers itself never stand at the head: they are answered
// as soon as the ones before them are.
type queue struct {
	room chan struct{} // a token for each command in the queue

	mu  sync.Mutex // guards all, and the order of what tell says
	all []pending
}

// newQueue makes a queue of nothing but the client's arrival, which the server's
// greeting answers (RFC 959 §5.4): who does not wait for it is answered behind it.
func newQueue() queue {
	room := make(chan struct{}, maxPending)
	room <- struct{}{}
	return queue{room: room, all: []pending{{}}}
}

// push adds a command. It waits where too many are not answered.
func (q *queue) push(ctx context.Context, p pending, tell func(string) error) error {
	select {
	case q.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = append(q.all, p)
	return q.flush(tell)
}

// match is the command that a reply answers: the oldest. ok is false for a reply
// that answers none. Some servers answer ABOR and what it ends once, some three
// times; nothing is sent behind a command that asks for a port, so a reply with
// one is known to be its.
func (q *queue) match(r reply, tell func(string) error) (p pending, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.all) == 0 {
		return pending{}, false, nil
	}
	if q.all[len(q.all)-1].asksPort() && r.namesPort() {
		for _, skipped := range q.all[:len(q.all)-1] {
			if err := tell(skipped.local); err != nil {
				return pending{}, false, err
			}
			<-q.room
		}
		q.all = q.all[len(q.all)-1:]
	}
	p = q.all[0]
	return p, !p.asksPort() || !r.endsData(), nil
}

// pop removes the head, which was answered.
func (q *queue) pop(tell func(string) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = q.all[1:]
	<-q.room
	return q.flush(tell)
}

// drain waits until all commands are answered. Who pushes must not meanwhile.
func (q *queue) drain(ctx context.Context) error {
	taken := 0
	defer func() {
		for range taken {
			<-q.room
		}
	}()
	for range maxPending {
		select {
		case q.room <- struct{}{}:
			taken++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// flush answers the commands at the head whose answer is ours. q.mu is held.
func (q *queue) flush(tell func(string) error) error {
	for len(q.all) > 0 && q.all[0].local != "" {
		if err := tell(q.all[0].local); err != nil {
			return err
		}
		q.all = q.all[1:]
		<-q.room
	}
	return nil
}
